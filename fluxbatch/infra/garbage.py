"""The collection of garbage: seldom, in a process that is a program of its own.

Owns the garbage collector's thresholds, and is cheap to import: it comes before all else.
"""

from __future__ import annotations

import atexit
import gc

_FIRST = 200_000
"""Objects. Imports make 110,000 that all stay: to look through them on the way found nothing."""
_OBJECTS, _YOUNG, _MIDDLE = 50_000, 20, 50


def collect_seldom() -> None:
    """For a process that works on one thing until it ends. Not for one that is somebody else's.

    Nearly all that it makes is gone without the collector; as Python sets it, it took a tenth of a
    job's CPU time, and as much of the imports before the first one.
    """
    atexit.register(gc.freeze)  # or all that there is would be looked through as it ends
    gc.set_threshold(_FIRST, _YOUNG, _MIDDLE)
    if _after_the_first not in gc.callbacks:
        gc.callbacks.append(_after_the_first)


def _after_the_first(phase: str, _: dict[str, int]) -> None:
    if phase == "stop":
        gc.callbacks.remove(_after_the_first)
        gc.set_threshold(_OBJECTS, _YOUNG, _MIDDLE)
