"""Version 2: models as the provider describes them."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Integer, Text


def upgrade(op: Operations) -> None:
    op.create_table(
        "models",
        Column("slug", Text, primary_key=True),
        Column("title", Text, nullable=False),
        Column("output_type", Text, nullable=False),
        Column("request_schema_json", Text, nullable=False),
        Column("told_price", BigInteger().with_variant(Integer(), "sqlite")),
        Column("fetched_at", Text, nullable=False),
    )
