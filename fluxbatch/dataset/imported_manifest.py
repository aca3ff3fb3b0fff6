"""A manifest that the dataset has imported before: whether it would give the same rows now.

Owns that question alone; changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.manifest_import import files_of


def names_other_files(
    db: Database, manifest_seq: int, before: str | None, now: Path | None, controls: Path | None
) -> bool:
    """Whether the same bytes may name other images by now: changed ones, or another folder's.

    *before* and *now*: where the manifest lay at its import, and lies. *controls*: the folder of
    control images that were fetched; they may have changed where they came from, and only another
    reading can tell.
    """
    files = files_of(db, manifest_seq)
    fetched = f"{controls}{os.sep}" if controls is not None else None
    if fetched is not None and any(path.startswith(fetched) for path, *_ in files):
        return True
    if files and before and now and Path(before).parent != now.absolute().parent:
        return True
    for path, size, mtime_ns, inode in files:
        try:
            stat = os.stat(path)
        except OSError:
            return True
        if (stat.st_size, stat.st_mtime_ns, stat.st_ino) != (size, mtime_ns, inode):
            return True
    return False
