"""The ledger of a run that was refused before it wrote anything: it is not there afterwards.

Owns what counts as unused: no row but the model that was looked up, no place of images, and
nobody at work. Whoever made it asks, in the dataset's turn, in which all others join.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_MOST_MS = 2_000
"""Somebody looks at it just now: it stays."""
_LOOKED_UP = ["ledger_version", "models", "history"]
_TABLES = """
    SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace(%s)
        AND relname <> ALL (%s)
    ORDER BY 1
"""


def drop_if_unused(
    connection: psycopg.Connection[tuple[Any, ...]], dataset: str, start_turn: str
) -> None:
    """*start_turn* begins the transaction; it stays open where a statement fails."""
    from psycopg import sql

    connection.execute(start_turn)
    schema = sql.Identifier(dataset)
    tables = connection.execute(_TABLES, [schema.as_string(), _LOOKED_UP]).fetchall()
    rows = [
        sql.SQL("SELECT 1 FROM ledger_version WHERE image_store IS NOT NULL"),
        *(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(name)) for (name,) in tables),
    ]
    found = sql.SQL("SELECT EXISTS ({})").format(sql.SQL(" UNION ALL ").join(rows))
    if connection.execute(found).fetchone() == (False,):
        names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in tables)
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_MOST_MS))
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
        if connection.execute(found).fetchone() == (False,):  # nobody was about to write
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
    connection.execute("COMMIT")
