"""Version 5: jobs may be rerolls of others."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, UniqueConstraint

_BIG = BigInteger().with_variant(Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "rerolls",
        Column("job_seq", _BIG, ForeignKey("jobs.seq"), primary_key=True),
        Column("of_job_seq", _BIG, ForeignKey("jobs.seq"), nullable=False),
        Column("number", Integer, nullable=False),
        Column("row_number", _BIG, nullable=False),
        UniqueConstraint("of_job_seq", "number"),
    )
