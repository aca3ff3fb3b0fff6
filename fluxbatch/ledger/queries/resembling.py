"""The images that may resemble one another, and the keys they are kept under.

Owns no state and changes none; runs on a reader's own connection or in the writer's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import bindparam, select

from fluxbatch.domain.fingerprint_keys import Fingerprint
from fluxbatch.domain.job import OutputState
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, constant

AT_ONCE = 250
"""Values in one statement."""

_o, _k = schema.outputs.c, schema.fingerprint_keys.c
_UNSEEN = Statement(
    lambda _: (
        select(_o.seq, _o.dhash)
        .where(_o.state == constant(OutputState.STORED), _o.resembles.is_(None))
        .order_by(_o.seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_KEPT = Statement(
    lambda _: (
        select(_k.key, _k.output_seq, _o.dhash)
        .join_from(schema.fingerprint_keys, schema.outputs, _o.seq == _k.output_seq)
        .where(
            _k.key.in_([bindparam(f"key_{place}") for place in range(AT_ONCE)]),
            _o.dhash.is_not(None),
        )
    )
)


def unseen_images(db: Database, most: int) -> list[tuple[int, str | None]]:
    """Output and fingerprint of the first *most* stored images that were compared with none."""
    return [(int(seq), text) for seq, text in db.run(_UNSEEN, {"most": most})]


def keys_near(fingerprints: Iterable[str]) -> list[int]:
    """In order, each once."""
    parsed = map(Fingerprint.parsed, fingerprints)
    return sorted({key for one in parsed if one is not None for key in one.keys_near()})


def kept_under(db: Database, keys: list[int]) -> Iterator[tuple[int, int, str]]:
    """Key, output and fingerprint of what is kept under *keys*."""
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        some += some[-1:] * (AT_ONCE - len(some))
        yield from db.run(_KEPT, {f"key_{place}": key for place, key in enumerate(some)})
