"""Regular files: the opening of what a stranger may have put in a file's place.

Owns what is refused there: pipes, devices, and files of a database that this process has open.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from fluxbatch.infra.open_databases import is_of_open_database


def open_regular(path: Path | str, *, follows_links: bool = True) -> BufferedReader:
    """A file to be read that has an end; raises `OSError`, for pipes and devices as well.

    A file of a database in use here is not opened: closing it would cost the database its locks.

    Without *follows_links* a link in the place of the file is an error (ELOOP).
    """
    if is_of_open_database(os.stat(path, follow_symlinks=follows_links)):
        raise OSError(errno.EBUSY, "it belongs to a database in use here", str(path))
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe without a writer would not open
    handle = os.open(path, how if follows_links else how | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
