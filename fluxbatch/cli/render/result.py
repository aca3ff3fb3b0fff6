"""The output of `show`: one result in full, as lines and as an object.

Owns also the lines that `show` and `why` both begin with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxbatch.cli.render.text import CREDENTIALS, FAILURES, count, cut, label_line, local_time
from fluxbatch.dataset.find_job import JobRef
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.formatting import dollars, duration, shortened, size
from fluxbatch.domain.job import OutputState
from fluxbatch.domain.money import as_usd
from fluxbatch.errors import SinkError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries import lookup
from fluxbatch.ledger.queries.history.job_history import (
    JobHistory,
    OutputEntry,
    PredictionEntry,
    job_history,
)
from fluxbatch.ledger.queries.rerolled_jobs import RerollOrigin, reroll_origin
from fluxbatch.sink import Images
from fluxbatch.sink.metadata import has_credentials

_ROWS_SHOWN = 5
_CHARS_SHOWN = 2_000
"""Of an input; `--json` has all of it."""
_CONTROL = "control_image"


@dataclass(frozen=True, slots=True)
class ResultView:
    """A job with the rows that name it, or a row that names none."""

    folder: Folder
    images: Images
    meant: JobRef
    job: JobHistory | None
    """None: the row is invalid."""
    row_count: int
    rows: tuple[lookup.NamedRow, ...]
    """The first ones."""
    origin: RerollOrigin | None = None
    """What it is a reroll of; then the rows are that job's."""

    @classmethod
    def read(cls, db: Database, folder: Folder, found: JobRef) -> ResultView:
        images = open_images(folder, db)
        if found.job_seq is None:
            assert found.row is not None
            return cls(folder, images, found, None, 1, (found.row,))
        origin = reroll_origin(db, found.job_seq)
        named = origin.job_seq if origin is not None else found.job_seq
        total, rows = lookup.rows_of_job(db, found.manifest.seq, named, _ROWS_SHOWN)
        job = job_history(db, found.job_seq)
        return cls(folder, images, found, job, total, tuple(rows), origin)

    @property
    def outputs(self) -> tuple[OutputEntry, ...]:
        """The one that was named, else all."""
        every = self.job.outputs if self.job is not None else ()
        named = self.meant.output_seq
        return tuple(output for output in every if named is None or output.seq == named)

    def prediction_of(self, output: OutputEntry) -> PredictionEntry:
        assert self.job is not None
        return next(p for p in self.job.predictions if p.seq == output.prediction_seq)


def heading_lines(shown: ResultView) -> Iterator[str]:
    """Which job this is, and which rows name it."""
    if shown.job is not None:
        job = shown.job.job
        failure = f" ({job.failure}: {FAILURES[job.failure]})" if job.failure else ""
        yield label_line("job", f"{job.job_id}, {job.state}{failure}")
        if job.reason:
            yield label_line("", job.reason)
    if (origin := shown.origin) is not None:
        yield label_line("reroll", f"{origin.number} of job {origin.job_id.hex()}")
    manifest = Path(shown.meant.manifest.path).name if shown.meant.manifest.path else "the sweep"
    for number, row in enumerate(shown.rows):
        name = f" {row.user_id!r}" if row.user_id is not None else ""
        place = f" (line {row.line} of {manifest})" if row.line else f" (of {manifest})"
        yield label_line("row" if number == 0 else "", f"#{row.number}{name}{place}")
    if (more := shown.row_count - len(shown.rows)) > 0:
        yield label_line("", f"and {count(more, 'more row')}")
    if not shown.rows:
        yield label_line(
            "row", f"none in {manifest}, the latest manifest: the job is kept, not submitted"
        )


def invalid_lines(shown: ResultView) -> Iterator[str]:
    """A row that cannot become a job."""
    (row,) = shown.rows
    yield from heading_lines(shown)
    yield label_line("state", "invalid: the row cannot become a job, so nothing was bought for it")
    yield label_line("why", row.error or "")
    yield label_line("next", "mend the row in the manifest, then run it again")


def result_lines(shown: ResultView) -> Iterator[str]:
    """The result, label by label."""
    if shown.job is None:
        yield from invalid_lines(shown)
        return
    job = shown.job.job
    yield from heading_lines(shown)
    yield label_line("model", job.model)
    for number, (name, value) in enumerate(job.input.items()):
        if name != _CONTROL:
            yield label_line("input" if number == 0 else "", f"{name} = {_value(value)}")
    if job.repeat:
        yield label_line("", f"repeat {job.repeat + 1} of this input")
    yield from _control_lines(shown)
    yield label_line("cost", cost_words(shown.job))
    for output in shown.outputs:
        yield ""
        yield from _output_lines(shown, output)
    if not shown.outputs:
        yield label_line("images", "none yet" if not job.failure else "none")


def cost_words(job: JobHistory) -> str:
    """`$0.05 for 2 attempts, estimated`."""
    attempts = count(len(job.predictions), "attempt")
    guess = ", estimated" if job.is_estimated else ""
    held = f", {dollars(job.reserved)} more reserved" if job.reserved else ""
    return f"{dollars(job.cost)} for {attempts}{guess}{held}"


def _control_lines(shown: ResultView) -> Iterator[str]:
    assert shown.job is not None
    job = shown.job.job
    given = job.input.get(_CONTROL)
    if job.control_sha256 and job.control_path:
        there = "" if Path(job.control_path).is_file() else " (no longer there)"
        yield label_line("control", f"{job.control_path}{there}")
        yield label_line("", f"sha256 {job.control_sha256}")
    elif given is not None:
        yield label_line("control", _url(str(given)))


def _output_lines(shown: ResultView, output: OutputEntry) -> Iterator[str]:
    made = shown.prediction_of(output)
    label = f"image {output.number + 1}"
    if output.state is not OutputState.STORED or output.path is None:
        why = f": {output.reason}" if output.reason else ""
        yield label_line(label, f"{output.state}{why}")
    else:
        yield label_line(label, shown.images.place(output.path))
        measures = f"{output.width} x {output.height} {output.mime}, {size(output.bytes or 0)}"
        yield label_line("", f"{measures}, {_verdict(shown, output)}")
        yield label_line("  sha256", output.sha256 or "")
        if _is_signed(shown, output):
            yield label_line("  signed", CREDENTIALS)
        if output.file_sha256 and output.file_sha256 != output.sha256:
            yield label_line("  of file", output.file_sha256)
    if output.quality:
        yield label_line("  quality", json.dumps(output.quality, ensure_ascii=False))
    yield label_line("  seed", "chosen by the provider" if made.seed is None else str(made.seed))
    adopted = f", found again {made.adopted}" if made.adopted else ""
    yield label_line("  made by", f"{made.provider_id}, attempt {made.attempt}{adopted}")
    yield label_line("", f"run {made.run_id}, key {made.key_label}, fluxbatch {made.tool_version}")
    took = f" in {duration(made.run_time_s)}" if made.run_time_s is not None else ""
    yield label_line("  made at", f"{local_time(made.ended_at or made.intended_at)} UTC{took}")
    if made.cost is not None:
        yield label_line("  cost", dollars(made.cost) + (", estimated" if made.estimated else ""))


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, _CHARS_SHOWN)


def _url(text: str) -> str:
    """Without its query, which may be a token."""
    plain, mark, _ = text.partition("?")
    return plain + ("?…" if mark else "")


def _verdict(shown: ResultView, output: OutputEntry) -> str:
    """Whether the file is what the ledger says."""
    state = _file_state(shown, output)
    if state == "whole":
        return "the file is whole"
    if state == "unknown":
        return "the store it is in does not answer"
    words = "MISSING" if state == "missing" else "NOT what the ledger says"
    return f"the file is {words}: fluxbatch repair {shown.folder.typed}"


def _file_state(shown: ResultView, output: OutputEntry) -> str:
    assert output.path is not None
    try:
        with shown.images.open(output.path) as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except SinkError:
        return "unknown"
    except OSError:
        return "missing"
    return "whole" if digest == (output.file_sha256 or output.sha256) else "changed"


def _is_signed(shown: ResultView, output: OutputEntry) -> bool | None:
    """Whether the file as it lies there carries content credentials; None where none is read."""
    if output.path is None:
        return None
    try:
        with shown.images.open(output.path) as file:
            return has_credentials(file.read())
    except (OSError, SinkError):
        return None


def job_json(shown: ResultView) -> dict[str, Any]:
    """What `show --json` and `why --json` have in common."""
    rows = [{"number": r.number, "line": r.line or None, "id": r.user_id} for r in shown.rows]
    if shown.job is None:
        (row,) = shown.rows
        return {"job": None, "state": "invalid", "reason": row.error, "rows": rows}
    job = shown.job.job
    return {
        "job": job.job_id,
        "state": job.state.value,
        "failure": job.failure.value if job.failure else None,
        "reason": job.reason,
        "rows": rows,
        "row_count": shown.row_count,
        "reroll": shown.origin.number if shown.origin is not None else 0,
        "reroll_of": shown.origin.job_id.hex() if shown.origin is not None else None,
        "cost_usd": as_usd(shown.job.cost),
        "cost_is_estimated": shown.job.is_estimated,
        "reserved_usd": as_usd(shown.job.reserved),
    }


def result_json(shown: ResultView) -> dict[str, Any]:
    """The object of `show --json`."""
    fields = job_json(shown)
    if shown.job is None:
        return fields
    job = shown.job.job
    given: Mapping[str, Any] = {
        name: _url(value) if name == _CONTROL and isinstance(value, str) else value
        for name, value in job.input.items()
    }
    return {
        **fields,
        "model": job.model,
        "input": given,
        "repeat_index": job.repeat,
        "control": {"sha256": job.control_sha256, "path": job.control_path},
        "images": [_output_json(shown, output) for output in shown.outputs],
    }


def _output_json(shown: ResultView, output: OutputEntry) -> dict[str, Any]:
    made = shown.prediction_of(output)
    return {
        "number": output.number,
        "state": output.state.value,
        "path": output.path,
        "file": _file_state(shown, output) if output.path else None,
        "has_credentials": _is_signed(shown, output),
        "sha256": output.sha256,
        "file_sha256": output.file_sha256 or output.sha256,
        "bytes": output.bytes,
        "mime": output.mime,
        "width": output.width,
        "height": output.height,
        "dhash": output.dhash,
        "quality": output.quality,
        "stored_at": output.stored_at,
        **attempt_json(made),
    }


def attempt_json(made: PredictionEntry) -> dict[str, Any]:
    """One prediction as programs get it."""
    return {
        "attempt": made.attempt,
        "prediction_id": made.provider_id,
        "prediction_state": made.state.value,
        "adopted": made.adopted,
        "at_risk": made.at_risk,
        "seed": made.seed,
        "run_id": made.run_id,
        "key": made.key_label,
        "intended_at": made.intended_at,
        "ended_at": made.ended_at,
        "run_seconds": made.run_time_s,
        "prediction_cost_usd": as_usd(made.cost) if made.cost is not None else None,
        "prediction_cost_is_estimated": made.estimated,
    }


def short(text: str, limit: int = 300) -> str:
    """A reason on one line."""
    return shortened(text, limit)
