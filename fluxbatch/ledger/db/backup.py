"""A copy of a ledger beside it, made before its schema changes.

Owns the copy's name and that it is whole and on the disk before anything else happens.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fluxbatch.infra.atomic_file import rename_durably, sync


def back_up(ledger: Path, version: int) -> Path:
    """Copy *ledger* to `<its name>.v<version>.bak`; an older copy is replaced.

    A consistent copy, whatever is still in the write-ahead log. The caller keeps all others from
    writing meanwhile. Raises `OSError` or `sqlite3.Error`, and then leaves no half of one.
    """
    copy = ledger.with_name(f"{ledger.name}.v{version}.bak")
    half = copy.with_name(f"{copy.name}.part")
    try:
        half.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(half)) as target,
        ):
            source.backup(target)
        sync(half)
        rename_durably(half, copy)
    finally:
        half.unlink(missing_ok=True)
    return copy
