"""The quality notes on a dataset's images: the latest ones of its done jobs.

Owns no state and changes none; runs on a reader's own connection. An image that was made anew
(`retry --quality`) is an earlier edition, and no longer counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, exists, func, literal_column, select

from fluxbatch.domain.image_quality import near_duplicates
from fluxbatch.domain.job import JobState, OutputState, Quality
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.queries.resembling import AT_ONCE, kept_under, keys_near, unseen_images

_PAGE = 10_000
_MOST_UNSEEN = 10_000
"""Beyond these it is quicker to look at all."""
_KNOWS_RESEMBLING = 4
"""The schema's version."""
_Look = tuple[int, int, str | None, str | None]
"""Output, job, fingerprint, notes."""

_o, _j = schema.outputs.c, schema.jobs.c
_later = schema.outputs.alias("later").c
_REPLACED = exists().where(
    _later.job_seq == _o.job_seq,
    _later.prediction_seq > _o.prediction_seq,
    _later.state == constant(OutputState.STORED),
)


def _looks_where(*conditions: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda _: (
            select(_o.seq, _o.job_seq, _o.dhash, _o.quality_json)
            .join_from(schema.outputs, schema.jobs, _j.seq == _o.job_seq)
            .where(
                *conditions,
                _o.state == constant(OutputState.STORED),
                _j.state == constant(JobState.DONE),
                ~_REPLACED,
            )
            .order_by(_o.seq)
        )
    )


_PAGED = _o.seq > bindparam("after"), _o.seq <= bindparam("until")
_LOOKS = _looks_where(*_PAGED)
_LAST = Statement(lambda _: select(func.coalesce(func.max(_o.seq), constant(0))))
# Each by an index of its own: they are few.
_NOTED = _looks_where(_o.quality_json != literal_column("'[]'"))
_RESEMBLING = _looks_where(_o.resembles == constant(1))
_UNSEEN = _looks_where(_o.resembles.is_(None))
_OTHERS = _looks_where(_o.seq.in_([bindparam(f"seq_{place}") for place in range(AT_ONCE)]))


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


def _looks(db: Database) -> Iterable[_Look]:
    """Of all images that have a note or may resemble another, in order."""
    if db.version < _KNOWS_RESEMBLING:
        return _all_looks(db)
    unseen = unseen_images(db, _MOST_UNSEEN + 1)
    if len(unseen) > _MOST_UNSEEN:
        return _all_looks(db)
    found = [*db.run(_NOTED), *db.run(_RESEMBLING)]
    if unseen:
        keys = keys_near(text for _, text in unseen if text is not None)
        others = list({seq for _, seq, _ in kept_under(db, keys)})
        found += [*db.run(_UNSEEN), *_looks_at(db, others)]
    return sorted({seq: (seq, *rest) for seq, *rest in found}.values(), key=itemgetter(0))


def _looks_at(db: Database, outputs: list[int]) -> Iterator[_Look]:
    for start in range(0, len(outputs), AT_ONCE):
        some = outputs[start : start + AT_ONCE]
        some += some[-1:] * (AT_ONCE - len(some))
        yield from db.run(_OTHERS, {f"seq_{place}": seq for place, seq in enumerate(some)})


def _all_looks(db: Database) -> Iterator[_Look]:
    ((last,),) = db.run(_LAST)
    for after in range(0, last, _PAGE):
        yield from db.run(_LOOKS, {"after": after, "until": after + _PAGE})
