"""One line of an export: a row of the manifest with one of its images, or without any.

Owns the columns: their names, order and types are the same in every format, every file and
every row, and a column never changes its meaning. What is absent is None, what is empty is
empty. Source of the names: docs/design/decisions.md "Results Parquet".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fluxbatch.domain.money import as_usd

if TYPE_CHECKING:  # a process that only writes a shard needs no ledger
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
    "reroll": "integer",
    "reroll_of": "text",
}
"""`cost_usd` is that of every prediction of the job: rows and images of one job each show all of
it. `sha256` is of the bytes as the provider delivered them, `file_sha256` of the file. `reroll` is
0 where the row's own job made it; else `reroll_of` is that job."""

EXPORT_COLUMNS = ("key", "split", "control_file_name")
"""Those that an export gives a row only once it was chosen."""
INVALID = "invalid"
"""The status and the error class of a row that cannot become a job."""

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


class Sample(NamedTuple):
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
    """All in the order of `COLUMNS`."""
    made, given = output or _no_output(), row.input
    return {
        "key": None,
        "row": row.number,
        "line": row.line or None,
        "id": row.user_id,
        "split": None,
        "status": row.state.value if row.state is not None else INVALID,
        "error_class": _error_class(row),
        "error_message": row.reason,
        "prompt": _whole(given.get("prompt")),
        "seed": made.seed if output is not None else given.get("seed"),
        "model": row.model,
        "input": _whole(given),
        "job_id": row.job_id.hex() if row.job_id is not None else None,
        "repeat_index": row.repeat,
        "output_index": made.number,
        "edition": made.edition,
        "file_name": made.path,
        "control_file_name": None,
        "sha256": made.sha256,
        "file_sha256": made.file_sha256,
        "bytes": made.bytes,
        "width": made.width,
        "height": made.height,
        "format": _FORMATS.get(made.mime),
        "dhash": made.dhash,
        "quality": _whole(made.quality),
        "control_sha256": row.control_sha256,
        "prediction_id": made.prediction_id,
        "attempt": made.attempt,
        "run_id": made.run_id,
        "submitted_at": made.submitted_at,
        "generated_at": made.generated_at,
        "stored_at": made.stored_at,
        "run_seconds": made.run_time_s,
        "cost_usd": _usd(row.cost),
        "cost_is_estimated": row.cost_is_estimated,
        "meta": _whole(row.meta),
        "axes": _whole(row.axes),
        "reroll": row.reroll,
        "reroll_of": row.reroll_of.hex() if row.reroll_of is not None else None,
    }


@cache
def _no_output() -> Any:
    from fluxbatch.ledger.queries.results import StoredOutput

    return StoredOutput._make([None] * len(StoredOutput._fields))._replace(quality={})


_usd = lru_cache(as_usd)  # most jobs cost the same


def _error_class(row: RowResult) -> str | None:
    if row.state is None:
        return INVALID
    return row.failure.value if row.failure is not None else None


def _whole(value: Any) -> Any:
    """Half a surrogate pair is legal in JSON, and in nothing that is written here."""
    if not value:
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        if all(map(_is_plain, value.values())) and "".join(value).isascii():
            return value
        return {_whole(name): _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def _is_plain(value: object) -> bool:
    return value.isascii() if isinstance(value, str) else not isinstance(value, (dict, list))
