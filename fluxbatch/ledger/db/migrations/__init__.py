"""The migrations of an older ledger: one file a step, its statements written by alembic.

Owns the order of the steps. Alembic only writes: the statements run on the ledger's own
connection, in one transaction with the version they lead to, so that a step happens whole or
not at all. Imported, and alembic with it, only where a ledger is older.
Source: docs/design/protocol.md 7.

A new step is a module `to_version_N` with `upgrade(op)`, named in `_STEPS`. A step that has been
released never changes, so it names its columns itself and imports nothing of `db.schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from fluxbatch.ledger.db.migrations import (
    to_version_2,
    to_version_3,
    to_version_4,
    to_version_5,
)
from fluxbatch.ledger.db.sql import SqlDialect

_STEPS: Mapping[int, Callable[[Operations], None]] = {
    2: to_version_2.upgrade,
    3: to_version_3.upgrade,
    4: to_version_4.upgrade,
    5: to_version_5.upgrade,
}
"""By the version each leads to."""


class _Statements(list[str]):
    """What alembic takes for a file: it writes one whole statement at a time."""

    def write(self, text: str) -> None:
        statement = text.strip().removesuffix(";")
        if statement:
            self.append(statement)

    def flush(self) -> None:
        """Nothing is held back."""


def upgrade_statements(name: SqlDialect, version: int) -> Sequence[str]:
    """What turns a ledger of schema *version* into one of today's, in order."""
    written = _Statements()
    context = MigrationContext.configure(
        dialect_name=name, opts={"as_sql": True, "output_buffer": written}
    )
    operations = Operations(context)
    for reached in sorted(_STEPS):
        if reached > version:
            _STEPS[reached](operations)
    return written
