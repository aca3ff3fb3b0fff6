"""Version 2: models as the provider describes them, shuffled manifests, sums from an index."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Integer, Text, text

_BIG = BigInteger().with_variant(Integer(), "sqlite")
_MONEY = ["run_seq", "state", "estimated", "budget_day", "reserved", "cost"]


def upgrade(op: Operations) -> None:
    op.create_table(
        "models",
        Column("slug", Text, primary_key=True),
        Column("title", Text, nullable=False),
        Column("output_type", Text, nullable=False),
        Column("request_schema_json", Text, nullable=False),
        Column("told_price", _BIG),
        Column("fetched_at", Text, nullable=False),
    )
    op.add_column("manifests", Column("shuffle", _BIG))
    op.create_index("predictions_money", "predictions", _MONEY)
    stored = text("state = 'stored'")
    op.create_index(
        "outputs_stored",
        "outputs",
        ["prediction_seq", "bytes"],
        sqlite_where=stored,
        postgresql_where=stored,
    )
