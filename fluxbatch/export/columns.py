"""The lines of an export: each a row of the manifest with one of its images, or without any.

Owns the columns: their names, order and types are the same in every format, every file and
every row, and a column never changes its meaning. What is absent is None, what is empty is
empty. Source of the names: docs/design/decisions.md "Results Parquet".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fluxbatch.domain.money import as_usd

if TYPE_CHECKING:  # a process that only writes a shard needs no ledger
    from fluxbatch.domain.job import FailureClass, JobState
    from fluxbatch.ledger.db.database import Database
    from fluxbatch.ledger.queries.results import ResultPage, RowResult

ColumnType = Literal["text", "integer", "number", "money", "moment", "flag", "nested"]
"""money: a decimal text of dollars. moment: an RFC 3339 text in UTC. nested: a JSON object."""
ExportRecord = dict[str, Any]
"""Every column of `COLUMNS`, in that order."""
JsonTexts = Mapping[str, Sequence[str | None]]
"""Of a column of what is nested the JSON text of each value, as every format would write it; None
where it is not at hand."""

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


@dataclass(frozen=True, slots=True)
class SamplePage:
    """Some samples in a row, column by column: of a million that takes half the time of one by
    one."""

    columns: dict[str, Sequence[Any]]
    """By the names in `COLUMNS`, in that order."""
    images: Sequence[str | None]
    controls: Sequence[Control | None]
    places: Sequence[int]
    """Which of its row's samples it is, from 0."""
    texts: JsonTexts = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Each sample's values, in the order of `COLUMNS`."""
        return zip(*self.columns.values(), strict=True)

    def records(self) -> Iterator[ExportRecord]:
        """Each sample's record."""
        return (dict(zip(COLUMNS, values, strict=True)) for values in self.rows())

    def samples(self) -> Iterator[Sample]:
        return map(Sample, self.records(), self.images, self.controls)

    def by(self, column: str) -> Iterator[tuple[Any, SamplePage]]:
        """The values of *column* that there are, each with its samples."""
        values = self.columns[column]
        for value in dict.fromkeys(values):
            if values.count(value) == len(values):
                yield value, self
            else:
                yield value, self.taken([line for line, one in enumerate(values) if one == value])

    def taken(self, lines: Sequence[int]) -> SamplePage:
        """Only these of it."""
        if len(lines) == len(self):
            return self

        def these(values: Sequence[Any]) -> list[Any]:
            return [values[line] for line in lines]

        columns: dict[str, Sequence[Any]] = {
            name: these(values) for name, values in self.columns.items()
        }
        texts = {name: these(values) for name, values in self.texts.items()}
        return SamplePage(
            columns, these(self.images), these(self.controls), these(self.places), texts
        )


def results_with_samples(
    db: Database, manifest_seq: int
) -> Iterator[tuple[RowResult, list[Sample]]]:
    """Every row of a manifest as `row_results` has it, with its samples: one for each image there
    is of it, or one without an image."""
    from fluxbatch.ledger.queries.results import page_rows, result_pages

    for page in result_pages(db, manifest_seq):
        samples = sample_page(page).samples()
        for row in page_rows(page):
            yield row, list(islice(samples, len(row.outputs) or 1))


def sample_page(page: ResultPage) -> SamplePage:
    """What the ledger has of some rows as the lines of an export."""
    row = page.row
    controls = list(map(_control, row["control_path"], row["control_sha256"]))
    texts = {} if page.has_escapes else {"input": list(map(_input_text, page.input_texts))}
    return SamplePage(_columns(page), page.output["path"], controls, page.places, texts)


def same_throughout(values: Sequence[Any]) -> bool:
    """Whether all are written alike, as most columns are in many lines.

    Of numbers that is so where they have one type (1 and 1.0 are equal, and written apart), and
    never of fractions (0.0 and -0.0).
    """
    first = values[0]
    kind = type(first)
    if kind is float or (first and kind not in (str, int, bool)):
        return False
    if values.count(first) != len(values):
        return False
    return kind not in (int, bool) or set(map(type, values)) == {kind}


def _columns(page: ResultPage) -> dict[str, Sequence[Any]]:
    """All in the order of `COLUMNS`."""
    row, made = page.row, page.output
    absent = [None] * len(page.places)
    given, paths = row["input"], made["path"]
    prompts = [values.get("prompt") for values in given]

    def whole(values: Sequence[Any]) -> Sequence[Any]:
        return list(map(_whole, values)) if page.has_escapes else values

    return {
        "key": absent,
        "row": row["number"],
        "line": [line or None for line in row["line"]],
        "id": row["user_id"],
        "split": absent,
        "status": [INVALID if state is None else str(state) for state in row["state"]],
        "error_class": list(map(_error_class, row["state"], row["failure"])),
        "error_message": row["reason"],
        "prompt": whole(prompts),
        "seed": [
            values.get("seed") if path is None else seed
            for path, seed, values in zip(paths, made["seed"], given, strict=True)
        ],
        "model": row["model"],
        "input": whole(given),
        "job_id": list(map(_hex, row["job_id"])),
        "repeat_index": row["repeat"],
        "output_index": made["number"],
        "edition": made["edition"],
        "file_name": paths,
        "control_file_name": absent,
        "sha256": made["sha256"],
        "file_sha256": made["file_sha256"],
        "bytes": made["bytes"],
        "width": made["width"],
        "height": made["height"],
        "format": list(map(_FORMATS.get, made["mime"])),
        "dhash": made["dhash"],
        "quality": whole(made["quality"]),
        "control_sha256": row["control_sha256"],
        "prediction_id": made["prediction_id"],
        "attempt": made["attempt"],
        "run_id": made["run_id"],
        "submitted_at": made["submitted_at"],
        "generated_at": made["generated_at"],
        "stored_at": made["stored_at"],
        "run_seconds": made["run_time_s"],
        "cost_usd": list(map(_usd, row["cost"])),
        "cost_is_estimated": row["cost_is_estimated"],
        "meta": whole(row["meta"]),
        "axes": whole(row["axes"]),
        "reroll": row["reroll"],
        "reroll_of": list(map(_hex, row["reroll_of"])),
    }


def _input_text(text: str | None) -> str | None:
    """RFC 8785 writes as all formats do, but for the smallest fractions, and the order of names
    that are not ASCII."""
    is_alike = text and text.isascii() and "e-" not in text and "0.0000" not in text
    return text if is_alike else None


_usd = lru_cache(as_usd)  # most jobs cost the same


def _hex(job: bytes | None) -> str | None:
    return None if job is None else job.hex()


def _error_class(state: JobState | None, failure: FailureClass | None) -> str | None:
    if state is None:
        return INVALID
    return None if failure is None else str(failure)


def _control(path: str | None, sha256: str | None) -> Control | None:
    return Control(path, sha256) if path and sha256 else None


def _whole(value: Any) -> Any:
    """Half a surrogate pair is legal in JSON, as an escape, and in nothing that is written here."""
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
