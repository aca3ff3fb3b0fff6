"""Version 4: images are looked up among their like; what is rare is found by an index."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, text

_BIG = BigInteger().with_variant(Integer(), "sqlite")
_RARE = {
    "outputs_unseen": ("outputs", ["seq"], "state = 'stored' AND resembles IS NULL"),
    "outputs_resembling": ("outputs", ["seq"], "resembles = 1"),
    "outputs_noted": ("outputs", ["seq"], "quality_json != '[]'"),
    "predictions_adopted": ("predictions", ["adopted"], "adopted IS NOT NULL"),
}
"""Indexes of some rows: table, columns, condition."""


def upgrade(op: Operations) -> None:
    op.add_column("outputs", Column("resembles", Integer))
    op.create_table(
        "fingerprint_keys",
        Column("key", _BIG, primary_key=True, autoincrement=False),
        Column("output_seq", _BIG, ForeignKey("outputs.seq"), primary_key=True),
        sqlite_with_rowid=False,
    )
    for name, (table, columns, where) in _RARE.items():
        condition = text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
