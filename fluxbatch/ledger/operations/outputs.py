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

from sqlalchemy import bindparam, distinct, func, null, select, update

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
from fluxbatch.ledger.db.sql import Statement, clean, constant, insert_numbered
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.operations import history
from fluxbatch.ledger.operations.job_rows import move_job
from fluxbatch.ledger.queries.provenance import provenance_of

_MAX_URL_CHARS = 2_000
"""Of an image's address; where that holds the image itself, its beginning tells enough."""

_o, _j = schema.outputs.c, schema.jobs.c
_all = schema.outputs.alias("everything").c
_SEQ = _o.seq == bindparam("output_seq")

_PLACE = Statement(
    lambda _: select(
        select(func.count(distinct(_o.prediction_seq)))
        .where(_o.job_seq == _j.seq)
        .scalar_subquery(),
        select(func.coalesce(func.max(_all.seq), constant(0))).scalar_subquery(),
        _j.id,
    ).where(_j.seq == bindparam("job_seq"))
)
_WANT = Statement(
    lambda d: insert_numbered(
        d, schema.outputs, ("job_seq", "prediction_seq", "number", "state", "url", "path")
    )
)
_READ = Statement(
    lambda _: (
        select(_o.state, _o.prediction_seq, _j.seq, _j.state, _j.outputs_wanted, _j.input_json)
        .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
        .where(_SEQ)
        .with_for_update(of=[schema.outputs, schema.jobs])
    )
)
_STORE = Statement(
    lambda _: (
        update(schema.outputs)
        .where(_SEQ)
        .values(
            state=constant(OutputState.STORED),
            reason=null(),
            path=bindparam("to_path"),
            sha256=bindparam("to_sha256"),
            file_sha256=bindparam("to_file_sha256"),
            bytes=bindparam("to_bytes"),
            mime=bindparam("to_mime"),
            width=bindparam("to_width"),
            height=bindparam("to_height"),
            dhash=bindparam("to_dhash"),
            quality_json=bindparam("to_quality"),
            stored_at=bindparam("to_stored_at"),
            resembles=null(),  # `operations.resemblance` has not looked at this one yet
        )
    )
)
_LOSE = Statement(
    lambda _: (
        update(schema.outputs)
        .where(_SEQ)
        .values(state=constant(OutputState.LOST), reason=bindparam("to_reason"))
    )
)
_TALLY = Statement(
    lambda _: select(_o.prediction_seq, _o.state).where(_o.job_seq == bindparam("job_seq"))
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


def want_outputs(
    db: Database, job_seq: int, prediction_seq: int, urls: Sequence[str], keeping: Keeping
) -> WantedOutputs:
    """Name what a prediction made.

    A name that is more than what every stem ends in is kept in `path`, before there is a file;
    where that is empty the stem is `output_stem`.
    """
    ((edition, latest, job),) = db.run(_PLACE, {"job_seq": job_seq})
    template = path_template(keeping.template)
    made = None
    named = NameFields(bytes(job).hex(), edition)
    if keeping.writes_metadata or template.needs_record:
        made = provenance_of(db, prediction_seq, edition)
        named = made.named(0)
    wanted = []
    for number, url in enumerate(urls):
        shard = shard_of(latest + number)
        stem = template.stem(named._replace(number=number), shard)
        values = {
            "job_seq": job_seq,
            "prediction_seq": prediction_seq,
            "number": number,
            "state": OutputState.WANTED,
            "url": clean(strip_query(url)[:_MAX_URL_CHARS]),
            "path": None if template.is_default and not shard else wanted_path(stem),
        }
        wanted.append(WantedOutput(db.insert(_WANT, values), number, stem))
    return WantedOutputs(edition, tuple(wanted), made)


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

    def apply(self, db: Database) -> JobState:
        before = _read(db, self.output_seq)
        if _is_told_twice(db, before):
            return before.job_state
        values = {
            "output_seq": self.output_seq,
            "to_path": self.path,
            "to_sha256": self.sha256,
            "to_file_sha256": self.file_sha256,
            "to_bytes": self.bytes,
            "to_mime": self.mime,
            "to_width": self.width,
            "to_height": self.height,
            "to_dhash": self.dhash,
            "to_quality": json.dumps([*self.quality, *size_notes(before.given, self)]),
            "to_stored_at": utc_text(self.at),
        }
        became = output_step(before.state, OutputEvent.STORED)
        db.run(_STORE, values)
        return _ended(db, self.at, self.output_seq, before, became, note=self.note)


@dataclass(frozen=True, slots=True)
class LoseOutput:
    """Every try to fetch an output has failed; answers the job's state."""

    at: Timestamp
    output_seq: int
    reason: str

    def apply(self, db: Database) -> JobState:
        before = _read(db, self.output_seq)
        if _is_told_twice(db, before):
            return before.job_state
        became = output_step(before.state, OutputEvent.LOST)
        db.run(_LOSE, {"output_seq": self.output_seq, "to_reason": clean(self.reason)})
        return _ended(db, self.at, self.output_seq, before, became, self.reason)


class _Before(NamedTuple):
    state: OutputState
    prediction_seq: int
    job_seq: int
    job_state: JobState
    asked_for: int
    given: str
    """The job's input as JSON."""


def _read(db: Database, output_seq: int) -> _Before:
    ((state, prediction_seq, job_seq, job_state, asked_for, given),) = db.run(
        _READ, {"output_seq": output_seq}
    )
    return _Before(
        OutputState(state), prediction_seq, job_seq, JobState(job_state), asked_for, given
    )


def _is_told_twice(db: Database, before: _Before) -> bool:
    """Whether another process that shares the ledger has stored it: who lost a lane and who has it
    now may fetch the same output, and write the same bytes under the same name."""
    return db.name == "postgresql" and before.state is OutputState.STORED


def _ended(
    db: Database,
    at: Timestamp,
    output_seq: int,
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
        ("output", output_seq),
        became,
        at=text,
        change=(before.state, became),
        job_seq=before.job_seq,
        reason=reason or note,
    )
    if before.job_state is not JobState.GENERATED:
        return before.job_state
    outputs = [(seq, OutputState(s)) for seq, s in db.run(_TALLY, {"job_seq": before.job_seq})]
    ours = [state for seq, state in outputs if seq == before.prediction_seq]
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
