"""One line of an export: a row of the manifest with one of its images, or without any.

Owns the columns: their names, order and types are the same in every format, every file and
every row, and a column never changes its meaning. What is absent is None, what is empty is
empty. Source of the names: docs/design/decisions.md "Results Parquet".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fluxbatch.domain.money import as_usd
from fluxbatch.ledger.queries.results import RowResult, StoredOutput

ColumnType = Literal["text", "integer", "number", "money", "moment", "flag", "nested"]
"""money: a decimal text of dollars. moment: an RFC 3339 text in UTC. nested: a JSON object."""
ExportRecord = dict[str, Any]
"""Every column of `COLUMNS`, in that order."""

COLUMNS: Mapping[str, ColumnType] = {
    "key": "text",
    "row": "integer",
    "line": "integer",
    "id": "text",
    "split": "text",
    "status": "text",
    "error_class": "text",
    "error_message": "text",
    "prompt": "text",
    "seed": "integer",
    "model": "text",
    "input": "nested",
    "job_id": "text",
    "repeat_index": "integer",
    "output_index": "integer",
    "edition": "integer",
    "file_name": "text",
    "control_file_name": "text",
    "sha256": "text",
    "file_sha256": "text",
    "bytes": "integer",
    "width": "integer",
    "height": "integer",
    "format": "text",
    "dhash": "text",
    "quality": "nested",
    "control_sha256": "text",
    "prediction_id": "text",
    "attempt": "integer",
    "run_id": "text",
    "submitted_at": "moment",
    "generated_at": "moment",
    "stored_at": "moment",
    "run_seconds": "number",
    "cost_usd": "money",
    "cost_is_estimated": "flag",
    "meta": "nested",
    "axes": "nested",
}
"""`cost_usd` is that of every prediction of the job: rows and images of one job each show all of
it. `sha256` is of the bytes as the provider delivered them, `file_sha256` of the file."""

INVALID = "invalid"
"""The status and the error class of a row that cannot become a job."""

_OUT_OF_JSON = ("prompt", "input", "meta", "axes", "quality")
"""Half a surrogate pair is legal in JSON, and in nothing that is written here."""
_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
}


@dataclass(frozen=True, slots=True)
class Control:
    """A control image that was a local file."""

    path: str
    sha256: str
    ending: str = ""
    """What kind of file it is, once somebody has looked."""

    @property
    def name(self) -> str:
        """The same for the same bytes."""
        return f"{self.sha256[:16]}.{self.ending}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A record and the files that belong to it."""

    record: ExportRecord
    image: str | None
    """Relative to the dataset."""
    control: Control | None


def samples_of(row: RowResult) -> Iterator[Sample]:
    """A sample for each image there is of *row*; one without an image where there is none."""
    control = None
    if row.control_path and row.control_sha256:
        control = Control(row.control_path, row.control_sha256)
    if not row.outputs:
        yield Sample(_record(row, None), None, control)
    for output in row.outputs:
        yield Sample(_record(row, output), output.path, control)


def _record(row: RowResult, output: StoredOutput | None) -> ExportRecord:
    known: ExportRecord = {
        "row": row.number,
        "line": row.line or None,
        "id": row.user_id,
        "status": row.state.value if row.state is not None else INVALID,
        "error_class": row.failure.value if row.failure is not None else None,
        "error_message": row.reason,
        "prompt": row.input.get("prompt"),
        "seed": row.input.get("seed"),
        "model": row.model,
        "input": row.input,
        "job_id": row.job_id.hex() if row.job_id is not None else None,
        "repeat_index": row.repeat,
        "control_sha256": row.control_sha256,
        "cost_usd": as_usd(row.cost),
        "cost_is_estimated": row.cost_is_estimated,
        "meta": row.meta,
        "axes": row.axes,
        "quality": {},
    }
    if row.state is None:
        known["error_class"] = INVALID
    if output is not None:
        known |= _of_output(output)
    for name in _OUT_OF_JSON:
        known[name] = _whole(known[name])
    return {name: known.get(name) for name in COLUMNS}


def _of_output(output: StoredOutput) -> ExportRecord:
    return {
        "seed": output.seed,
        "output_index": output.number,
        "edition": output.edition,
        "file_name": output.path,
        "sha256": output.sha256,
        "file_sha256": output.file_sha256,
        "bytes": output.bytes,
        "width": output.width,
        "height": output.height,
        "format": _FORMATS.get(output.mime),
        "dhash": output.dhash,
        "quality": output.quality,
        "prediction_id": output.prediction_id,
        "attempt": output.attempt,
        "run_id": output.run_id,
        "submitted_at": output.submitted_at,
        "generated_at": output.generated_at,
        "stored_at": output.stored_at,
        "run_seconds": output.run_time_s,
    }


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_whole(name): _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
