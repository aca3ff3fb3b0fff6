"""The state of each output: wanted, then stored with its file or lost with a reason.

Owns the `outputs` table. A job is done when everything one prediction of it made is
stored and is all that was asked for; while an output of it is still wanted it has
not failed. Source: docs/design/protocol.md 1 and 2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from sqlalchemy import distinct, func, select

from fluxbatch.domain.filenames import (
    DEFAULT_TEMPLATE,
    NameFields,
    path_template,
    shard_of,
    wanted_path,
)
from fluxbatch.domain.image_quality import size_notes
from fluxbatch.domain.job import FailureClass, JobState, OutputState, Quality
from fluxbatch.domain.provenance import Provenance
from fluxbatch.domain.state_machine import JobEvent, OutputEvent, output_step
from fluxbatch.infra.redaction import strip_query
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import KeyedQuery, Rows, row_insert, row_update
from fluxbatch.ledger.db.sql import among, clean
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import history
from fluxbatch.ledger.operations.job_rows import move_job
from fluxbatch.ledger.queries.provenance import expect_provenance, provenance_of

_MAX_URL_CHARS = 2_000
"""Of an image's address; where that holds the image itself, its beginning tells enough."""

_o, _j, _p = schema.outputs.c, schema.jobs.c, schema.predictions.c
_all_outputs = schema.outputs.alias("everything")
_all = _all_outputs.c

_PLACE = KeyedQuery(
    lambda d: (
        select(
            _p.seq,
            select(func.count(distinct(_o.prediction_seq)))
            .where(_o.job_seq == _p.job_seq)
            .scalar_subquery(),
            _j.id,
        )
        .join_from(schema.predictions, schema.jobs, _j.seq == _p.job_seq)
        .where(among(d, _p.seq))
    )
)
_WANT = row_insert(
    schema.outputs, ("seq", "job_seq", "prediction_seq", "number", "state", "url", "path")
)
_READ = KeyedQuery(
    lambda d: (
        select(
            _o.seq, _o.state, _o.prediction_seq, _j.seq, _j.state, _j.outputs_wanted, _j.input_json
        )
        .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
        .where(among(d, _o.seq))
        .order_by(_j.seq, _o.seq)
        .with_for_update(of=[schema.outputs, schema.jobs])
    ),
    job_at=3,
)
_STORE = row_update(
    schema.outputs,
    ("state", "reason", "path", "sha256", "file_sha256", "bytes", "mime", "width", "height",
     "dhash", "quality_json", "stored_at", "resembles"),
)  # fmt: skip
_LOSE = row_update(schema.outputs, ("state", "reason"))
_SIBLINGS = KeyedQuery(
    lambda d: (
        select(_o.seq, _all.seq, _all.prediction_seq, _all.state)
        .join_from(schema.outputs, _all_outputs, _all.job_seq == _o.job_seq)
        .where(among(d, _o.seq))
        .order_by(_o.seq, _all.seq)
    )
)


class Keeping(NamedTuple):
    """The naming of a dataset's outputs, and whether they carry metadata."""

    template: str = DEFAULT_TEMPLATE
    """`sink.path_template`."""
    writes_metadata: bool = False


AS_BEFORE = Keeping()
"""Names of before there were templates."""


class WantedOutput(NamedTuple):
    """An image to be fetched."""

    output_seq: int
    number: int
    stem: str
    """Its name below `images/` without the ending: decided when it was named, for ever."""


class WantedOutputs(NamedTuple):
    """What a prediction made."""

    edition: int
    """How many predictions of the job had named theirs before, in whatever order they were
    bought: it is part of the files' names."""
    outputs: tuple[WantedOutput, ...]
    made: Provenance | None
    """Only where somebody asked for it."""

    def with_learned(self, provider_id: str | None, adopted: str | None) -> WantedOutputs:
        """With what the event that made them says of the prediction itself."""
        if self.made is None or (provider_id is None and adopted is None):
            return self
        made = self.made._replace(
            prediction_id=provider_id or self.made.prediction_id,
            adopted=adopted or self.made.adopted,
        )
        return self._replace(made=made)


def expect_wanted(rows: Rows, prediction_seq: int, count: int, keeping: Keeping) -> None:
    """`want_outputs` is going to be asked to name so many."""
    rows.expect_number(schema.outputs, count)
    if _needs_record(keeping):
        expect_provenance(rows, prediction_seq)
    else:
        rows.expect(_PLACE, prediction_seq)


def want_outputs(
    db: Database, job_seq: int, prediction_seq: int, urls: Sequence[str], keeping: Keeping
) -> WantedOutputs:
    """Name what a prediction made.

    A name that is more than what every stem ends in is kept in `path`, before there is a file;
    where that is empty the stem is `output_stem`.
    """
    template = path_template(keeping.template)
    made = None
    if _needs_record(keeping):
        made = provenance_of(db, prediction_seq, None)
        named = made.named(0)
    else:
        ((_, edition, job),) = db.rows.of(_PLACE, prediction_seq)
        named = NameFields(bytes(job).hex(), edition)
    wanted = []
    for number, url in enumerate(urls):
        output_seq = db.rows.number(schema.outputs)
        shard = shard_of(output_seq - 1)
        stem = template.stem(named._replace(number=number), shard)
        values = {
            "seq": output_seq,
            "job_seq": job_seq,
            "prediction_seq": prediction_seq,
            "number": number,
            "state": str(OutputState.WANTED),
            "url": clean(strip_query(url)[:_MAX_URL_CHARS]),
            "path": None if template.is_default and not shard else wanted_path(stem),
        }
        db.rows.write(_WANT, values)
        wanted.append(WantedOutput(output_seq, number, stem))
    return WantedOutputs(named.edition, tuple(wanted), made)


def _needs_record(keeping: Keeping) -> bool:
    return keeping.writes_metadata or path_template(keeping.template).needs_record


@dataclass(frozen=True, slots=True)
class StoreOutput:
    """The file is on the disk under its name; answers the job's state."""

    FOREIGN_TEXT: ClassVar = ("path",)

    at: Timestamp
    output_seq: int
    path: str
    """Relative to the dataset."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    dhash: str | None = None
    quality: Sequence[Quality] = ()
    """What was noticed when it was decoded; whether its size is as asked is noted here."""
    file_sha256: str | None = None
    """Of the file, where its facts were embedded; the other hash and the bytes are as delivered."""
    note: str | None = None
    """What else is to be known of it, for its history."""

    def expect(self, rows: Rows) -> None:
        _expect_end(rows, self.output_seq)

    def apply(self, db: Database) -> JobState:
        before = _read(db, self.output_seq)
        if _is_told_twice(db, before):
            return before.job_state
        became = output_step(before.state, OutputEvent.STORED)
        values = {
            "seq": self.output_seq,
            "state": str(OutputState.STORED),
            "reason": None,
            "path": self.path,
            "sha256": self.sha256,
            "file_sha256": self.file_sha256,
            "bytes": self.bytes,
            "mime": self.mime,
            "width": self.width,
            "height": self.height,
            "dhash": self.dhash,
            "quality_json": json.dumps([*self.quality, *size_notes(before.given, self)]),
            "stored_at": utc_text(self.at),
            "resembles": None,  # `operations.resemblance` has not looked at this one yet
        }
        db.rows.write(_STORE, values)
        return _ended(db, self.at, before, became, note=self.note)


@dataclass(frozen=True, slots=True)
class LoseOutput:
    """Every try to fetch an output has failed; answers the job's state."""

    at: Timestamp
    output_seq: int
    reason: str

    def expect(self, rows: Rows) -> None:
        _expect_end(rows, self.output_seq)

    def apply(self, db: Database) -> JobState:
        before = _read(db, self.output_seq)
        if _is_told_twice(db, before):
            return before.job_state
        became = output_step(before.state, OutputEvent.LOST)
        lost = {"state": str(OutputState.LOST), "reason": clean(self.reason)}
        db.rows.write(_LOSE, {"seq": self.output_seq, **lost})
        return _ended(db, self.at, before, became, self.reason)


class _Before(NamedTuple):
    seq: int
    state: OutputState
    prediction_seq: int
    job_seq: int
    job_state: JobState
    asked_for: int
    given: str
    """The job's input as JSON."""


def _expect_end(rows: Rows, output_seq: int) -> None:
    rows.expect(_READ, output_seq)
    rows.expect(_SIBLINGS, output_seq)


def _read(db: Database, output_seq: int) -> _Before:
    ((seq, state, prediction_seq, job_seq, job_state, asked_for, given),) = db.rows.of(
        _READ, output_seq
    )
    return _Before(
        seq, OutputState(state), prediction_seq, job_seq, JobState(job_state), asked_for, given
    )


def _is_told_twice(db: Database, before: _Before) -> bool:
    """Whether another process that shares the ledger has stored it: who lost a lane and who has it
    now may fetch the same output, and write the same bytes under the same name."""
    return db.name == "postgresql" and before.state is OutputState.STORED


def _ended(
    db: Database,
    at: Timestamp,
    before: _Before,
    became: OutputState,
    reason: str | None = None,
    *,
    note: str | None = None,
) -> JobState:
    """The output has its end; perhaps its job has, too. A note is no reason for the job's end."""
    text = utc_text(at)
    history.append(
        db,
        ("output", before.seq),
        became,
        at=text,
        change=(before.state, became),
        job_seq=before.job_seq,
        reason=reason or note,
    )
    if before.job_state is not JobState.GENERATED:
        return before.job_state
    outputs = [
        (prediction, became if seq == before.seq else OutputState(state))
        for _, seq, prediction, state in db.rows.of(_SIBLINGS, before.seq)
    ]
    ours = [state for prediction, state in outputs if prediction == before.prediction_seq]
    stored, event = ours.count(OutputState.STORED), JobEvent.OUTPUT_FAILED
    failure: FailureClass | None = None
    if stored == len(ours) and stored >= before.asked_for:
        event = JobEvent.STORED
    elif any(state is OutputState.WANTED for _, state in outputs):
        return JobState.GENERATED
    elif stored < len(ours):
        failure, reason = FailureClass.OUTPUT_LOST, reason or _lost_words(ours)
    else:
        failure = FailureClass.SHORT_OUTPUT
        reason = f"asked for {before.asked_for} images, got {stored}"
    return move_job(
        db, before.job_seq, before.job_state, event, at=text, failure=failure, reason=reason
    )


def _lost_words(ours: Sequence[OutputState]) -> str:
    return f"{ours.count(OutputState.LOST)} of {len(ours)} images could not be fetched"
