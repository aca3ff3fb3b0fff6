"""A row of a manifest that the dataset has imported, as its ledger has it.

Of each row there is what a plan looks at, and no more.
"""

from __future__ import annotations

import json

from fluxbatch.domain.job import ControlFile, Job, Row
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.uploads import find_file
from fluxbatch.ledger.queries.imported_rows import ImportedRow


def row_as_imported(db: Database, found: ImportedRow) -> Row:
    """Of a job that is not pending the input is left out: nothing will be sent."""
    given = found.input_json
    job = Job(
        found.job_id,
        found.model,
        json.loads(given) if given is not None else {},
        found.repeat,
        found.outputs_wanted,
        given or "",
    )
    meta = json.loads(found.meta_json or "{}") if names_split(found.meta_json) else {}
    control = _control_of(db, found) if given is not None else None
    return Row(found.number, found.line, found.user_id, meta, job, control)


def names_split(meta_json: str | None) -> bool:
    """Whether a row's meta columns may have the one that a plan asks for."""
    return meta_json is not None and '"split"' in meta_json


def _control_of(db: Database, found: ImportedRow) -> ControlFile | None:
    if found.control_path is None or found.control_sha256 is None:
        return None
    kept = find_file(db, found.control_path)
    size, mime = (kept.size, kept.mime) if kept is not None else (0, "")
    return ControlFile(found.control_path, found.control_sha256, size, mime)
