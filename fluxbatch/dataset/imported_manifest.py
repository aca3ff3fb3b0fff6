"""A manifest that the dataset has imported before: whether it would give the same rows now.

Owns that question and the rows as the ledger has them, which cost a third of reading and
validating the file again. Changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from fluxbatch.domain.job import ControlFile, Job, JobState, Row
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.manifest_import import files_of
from fluxbatch.ledger.operations.uploads import find_file
from fluxbatch.ledger.queries.imported_rows import ImportedRow, imported_rows


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


def rows_as_imported(db: Database, manifest_seq: int) -> Iterator[tuple[Row, JobState]]:
    """Every row in the manifest's order with the state of its job; all of them name one.

    Of a job that is not pending the input is left out: nothing will be sent.
    """
    for found in imported_rows(db, manifest_seq):
        job = Job(
            found.job_id,
            found.model,
            json.loads(found.input_json) if found.input_json is not None else {},
            found.repeat,
            found.outputs_wanted,
            found.input_json or "",
        )
        # Of the meta columns a plan asks for the split alone.
        meta = found.meta_json
        yield (
            Row(
                found.number,
                found.line,
                found.user_id,
                json.loads(meta) if meta is not None and '"split"' in meta else {},
                job,
                _control_of(db, found) if found.input_json is not None else None,
            ),
            found.state,
        )


def _control_of(db: Database, found: ImportedRow) -> ControlFile | None:
    if found.control_path is None or found.control_sha256 is None:
        return None
    kept = find_file(db, found.control_path)
    size, mime = (kept.size, kept.mime) if kept is not None else (0, "")
    return ControlFile(found.control_path, found.control_sha256, size, mime)
