"""The end of a process that was told twice to leave: within a second, whatever a thread does.

Owns the last resort. A thread cannot be stopped, and a decoder or a dead disk may keep one for
minutes; what is on the disk is whole at every moment, so leaving loses nothing that the next run
does not find. Only for a process of our own: never for one that embeds us.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LEAVE_S = 0.8
_SHOW_CURSOR = b"\x1b[?25h\n"

Leave = Callable[[int], None]
"""Ends the process with that exit code unless it has ended by itself soon."""


@contextmanager
def leaving() -> Iterator[Leave]:
    """Until the end of the block, which is an end by itself."""
    timers: list[threading.Timer] = []

    def leave(code: int) -> None:
        timer = threading.Timer(LEAVE_S, _leave_now, (code,))
        timer.daemon = True
        timers.append(timer)
        timer.start()

    try:
        yield leave
    finally:
        for timer in timers:
            timer.cancel()


def _leave_now(code: int) -> None:
    with suppress(OSError, ValueError):
        if sys.stderr.isatty():  # the live screen had hidden it
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(code)
