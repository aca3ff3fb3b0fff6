"""Version 3: images may lie in an object store."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, Text


def upgrade(op: Operations) -> None:
    op.add_column("ledger_version", Column("image_store", Text))
