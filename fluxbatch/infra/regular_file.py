"""Regular files: the opening of what a stranger may have put in a file's place.

Owns what is refused there, pipes and devices, and which file it is that has a name.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path | str, *, follows_links: bool = True) -> BinaryIO:
    """A file to be read that has an end; raises `OSError`, for pipes and devices as well.

    Without *follows_links* a link in the place of the file is an error (ELOOP).
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe without a writer would not open
    handle = os.open(path, how if follows_links else how | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has that name now, whatever it was called before; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
