"""The position of a row's job in the queue: the manifest's order, or shuffled by a seed.

Owns the arithmetic of `queue.shuffle`. A position is computed from the row's number alone, without
knowing how many there are, so a million jobs are shuffled in no memory and the same seed gives
the same order in every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import bindparam, select, update

from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

_j, _r, _m = schema.jobs.c, schema.rows.c, schema.manifests.c

_ROWS_BEFORE = Statement(
    lambda _: (
        select(_r.number, _r.job_seq)
        .where(
            _r.manifest_seq == bindparam("manifest_seq"),
            _r.number < bindparam("before"),
            _r.job_seq.is_not(None),
        )
        .order_by(_r.number.desc())
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_PUT = Statement(
    lambda _: (
        update(schema.jobs).where(_j.seq == bindparam("job_seq")).values(position=bindparam("at"))
    )
)
_SET_SHUFFLE = Statement(
    lambda _: (
        update(schema.manifests)
        .where(_m.seq == bindparam("manifest_seq"))
        .values(shuffle=bindparam("to_shuffle"))
    )
)
_PAGE = 10_000
_MASK = (1 << 62) - 1
_FIRST_ODD, _SECOND_ODD = 0x3F58476D1CE4E5B9, 0x14D049BB133111EB


def places(shuffle: int | None) -> Callable[[int], int]:
    """From a row's number to its place in line; no two rows have one. None: the number itself."""
    if shuffle is None:
        return lambda number: number
    key = _key(shuffle)

    def place(number: int) -> int:
        # Each step can be undone within 62 bits, so different numbers stay different.
        value = (number + key) & _MASK
        value = ((value ^ (value >> 30)) * _FIRST_ODD) & _MASK
        value = ((value ^ (value >> 27)) * _SECOND_ODD) & _MASK
        return value ^ (value >> 31)

    return place


@lru_cache(maxsize=8)
def _key(shuffle: int) -> int:
    """Not Python's `random`: that may draw differently in its next version."""
    return int.from_bytes(hashlib.sha256(f"fluxbatch shuffle {shuffle}".encode()).digest()[:8])


def reorder(db: Database, manifest_seq: int, shuffle: int | None) -> None:
    """Put the jobs of a manifest, listed already, into another order."""
    place = places(shuffle)
    before = 2**62
    # Backwards, so that a job stands where the first row that names it does.
    while page := db.run(
        _ROWS_BEFORE, {"manifest_seq": manifest_seq, "before": before, "most": _PAGE}
    ):
        db.run_many(_PUT, ({"job_seq": job, "at": place(number)} for number, job in page))
        before = page[-1][0]
    db.run(_SET_SHUFFLE, {"manifest_seq": manifest_seq, "to_shuffle": shuffle})
