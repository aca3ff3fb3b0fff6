"""The end of a child process that is spoken with over its pipes."""

from __future__ import annotations

import subprocess
from contextlib import suppress


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Kill it whatever it does, close its pipes, and wait until it is gone."""
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()
