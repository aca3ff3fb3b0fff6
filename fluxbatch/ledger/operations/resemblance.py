"""The look at new images for such as an earlier one resembles.

Owns `outputs.resembles` and the keys it is found by. It only narrows down: of a million different
images almost none is looked at again by `queries.quality_notes`, which says what is a duplicate of
what. Not part of storing an image: it may come any time later, and all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, update

from fluxbatch.domain.fingerprint_keys import Fingerprint, compare
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement, insert_all
from fluxbatch.ledger.queries.resembling import kept_under, keys_near, unseen_images

_o = schema.outputs.c
_NOTE = Statement(
    lambda _: (
        update(schema.outputs)
        .where(_o.seq == bindparam("output_seq"))
        .values(resembles=bindparam("to_resembles"))
    )
)
_KEEP = Statement(lambda d: insert_all(d, schema.fingerprint_keys).on_conflict_do_nothing())


@dataclass(frozen=True, slots=True)
class CompareImages:
    """Look at the next *most* images that nobody has looked at; answers how many there were."""

    most: int = 2_000

    def apply(self, db: Database) -> int:
        unseen = unseen_images(db, self.most)
        new = {seq: text for seq, text in unseen if text is not None}
        shelves: dict[int, list[tuple[int, Fingerprint]]] = {}
        kept = dict[int, Fingerprint | None]()
        for key, seq, text in kept_under(db, keys_near(new.values())):
            if seq not in kept:  # it is under several keys
                kept[seq] = Fingerprint.parsed(text)
            fingerprint = kept[seq]
            if fingerprint is not None and seq not in new:  # fetched again, it may be another
                shelves.setdefault(key, []).append((seq, fingerprint))
        found = compare(new, shelves)
        seen = {seq for seq, _ in unseen}
        db.run_many(_NOTE, _notes(seen | found.resembling, found.resembling))
        # In order: neighbours lie on one page.
        db.run_many(_KEEP, ({"key": key, "output_seq": seq} for key, seq in sorted(found.kept)))
        return len(unseen)


def _notes(seen: set[int], resembling: set[int]) -> Iterator[dict[str, int]]:
    for seq in sorted(seen):
        yield {"output_seq": seq, "to_resembles": int(seq in resembling)}
