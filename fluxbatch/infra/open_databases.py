"""The databases that this process has open by SQLite, so that nothing else opens their files.

A process loses all its locks on a file once it closes any handle of it (POSIX): whoever opens the
database next would take it for one that nobody uses. What is known here is the process's own, as
those locks are. Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

_ENDINGS = ("", "-wal", "-shm", "-journal")
_open: Counter[Path] = Counter()


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has that name now, whatever it was called before; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def database_opened(path: Path) -> Path:
    """From here on no file of it is anything else's; answers what `database_closed` is told."""
    place = path.resolve()  # SQLite's other files are beside it, not beside a link
    _open[place] += 1
    return place


def database_closed(place: Path) -> None:
    """One connection less."""
    _open[place] -= 1
    if not _open[place]:
        del _open[place]


def is_of_open_database(found: os.stat_result) -> bool:
    """Whether a file, as `stat` has found it by whatever name, is one of theirs."""
    asked = (found.st_dev, found.st_ino)
    return any(identity(Path(f"{name}{end}")) == asked for name in list(_open) for end in _ENDINGS)
