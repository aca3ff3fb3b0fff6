"""The quality notes on a dataset's images: the latest ones of its done jobs.

Owns no state and changes none; runs on a reader's own connection. An image that was made anew
(`retry --quality`) is an earlier edition, and no longer counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import bindparam, exists, select

from fluxbatch.domain.image_quality import near_duplicates
from fluxbatch.domain.job import JobState, OutputState, Quality
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_PAGE = 10_000

_o, _j = schema.outputs.c, schema.jobs.c
_later = schema.outputs.alias("later").c
_REPLACED = exists().where(
    _later.job_seq == _o.job_seq,
    _later.prediction_seq > _o.prediction_seq,
    _later.state == constant(OutputState.STORED),
)
_LOOKS = Statement(
    lambda _: (
        select(_o.seq, _o.job_seq, _o.dhash, _o.quality_json)
        .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
        .where(
            _o.seq > bindparam("after"),
            _o.state == constant(OutputState.STORED),
            _j.state == constant(JobState.DONE),
            ~_REPLACED,
        )
        .order_by(_o.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


class Noted(NamedTuple):
    """An image with something to say about it."""

    output_seq: int
    job_seq: int
    notes: tuple[Quality, ...]
    twin: int | None
    """The earlier output it nearly equals."""


def noted_outputs(db: Database) -> list[Noted]:
    """Every image of a done job that anything was noticed about, in the order they were made."""
    noted = dict[int, tuple[int, tuple[Quality, ...]]]()
    jobs = dict[int, int]()

    def hashes() -> Iterator[tuple[int, str]]:
        for seq, job_seq, dhash, quality in _looks(db):
            if quality is not None and quality != "[]":
                noted[seq] = job_seq, tuple(Quality(note) for note in json.loads(quality))
            if dhash is not None:
                jobs[seq] = job_seq
                yield seq, dhash

    twins = near_duplicates(hashes())
    nothing: tuple[Quality, ...] = ()
    found = []
    for seq in sorted(noted.keys() | twins.keys()):
        job_seq, notes = noted.get(seq) or (jobs[seq], nothing)
        if seq in twins:
            notes = (*notes, Quality.DUPLICATE)
        found.append(Noted(seq, job_seq, notes, twins.get(seq)))
    return found


def count_notes(db: Database) -> dict[Quality, int]:
    """How many images each note is on; a note that is on none is left out."""
    counted = Counter(note for one in noted_outputs(db) for note in one.notes)
    return {note: counted[note] for note in Quality if counted[note]}


def _looks(db: Database) -> Iterator[tuple[int, int, str | None, str | None]]:
    after = 0
    while page := db.run(_LOOKS, {"after": after, "most": _PAGE}):
        yield from page
        after = page[-1][0]
