"""A `fluxbatch serve` in its own process, for the tests of the live page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder: Path | str, *flags: str, cache: Path | None = None) -> Iterator[str]:
    """The address it prints; the process is gone afterwards. Small copies are kept in *cache*."""
    command = [sys.executable, "-m", "fluxbatch", "serve", str(folder), "--json", *flags]
    env = {**os.environ, "XDG_CACHE_HOME": str((cache or Path(folder).parent) / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
