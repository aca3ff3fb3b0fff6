"""The rows of a manifest that the dataset has imported, as its ledger has them.

They cost less than half of reading and validating the file again. Of each row there is what a plan
looks at, and no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from fluxbatch.domain.job import ControlFile, Job, JobState, Row
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.uploads import find_file
from fluxbatch.ledger.queries.imported_rows import ImportedRow, imported_rows


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
