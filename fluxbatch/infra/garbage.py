"""The collection of garbage: seldom, in a process that is a program of its own.

Owns the garbage collector's thresholds, and is cheap to import: it comes before all else.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS, _YOUNG, _MIDDLE = 50_000, 20, 50


@contextmanager
def collected_seldom() -> Iterator[None]:
    """For a process that works on one thing. Not for one that is somebody else's.

    Nearly all that it makes is gone without the collector; as Python sets it, it took a tenth of a
    job's CPU time, and as much of the imports before the first one.
    """
    atexit.register(gc.freeze)  # or all that there is would be looked through as it ends
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, _YOUNG, _MIDDLE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
