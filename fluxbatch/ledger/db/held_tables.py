"""The sessions that hold a ledger's tables, for whoever has waited for one in vain.

Owns the words of that: what was waited for, whose it is, and what to do. Ends no session itself.
Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

from contextlib import closing

from fluxbatch.errors import FluxbatchError
from fluxbatch.ledger.db.postgres_connection import connected

_NAMED = 3
_HOLDERS = """
    SELECT DISTINCT c.relname, a.pid, a.usename, a.application_name
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND n.nspname = %s AND a.pid <> pg_backend_pid() AND c.relkind IN ('r', 'p')
        AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY a.pid, c.relname
"""


def waited_in_vain(url: str, dataset: str, waited_ms: int) -> str:
    """What people are told after so long. Asks by a connection of its own: the one that waited is
    in the midst of something."""
    held = _holders(url, dataset)
    if not held:
        return (
            f"the database had no answer for the ledger {dataset!r} within {waited_ms / 1000:g} s:"
            " it is busy, or what another session held is free by now; try again"
        )
    tables = dict.fromkeys(table for table, *_ in held)
    sessions = {pid: (user, program) for _, pid, user, program in held}
    table = " and ".join(repr(one) for one in list(tables)[:_NAMED])
    who = " and ".join(
        f"process {pid} of the user {user!r}" + (f" ({program!r})" if program else "")
        for pid, (user, program) in list(sessions.items())[:_NAMED]
    )
    ends = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in list(sessions)[:_NAMED])
    return (
        f"the ledger {dataset!r}: {table} is still locked by another session of the database"
        f" after {waited_ms / 1000:g} s: {who}; let it end its transaction and try again,"
        f" or end it:  {ends}"
    )


def _holders(url: str, dataset: str) -> list[tuple[str, int, str, str]]:
    import psycopg

    try:
        with closing(connected(url, dataset)) as connection:
            found = connection.execute(_HOLDERS, [dataset]).fetchall()
    except (FluxbatchError, psycopg.Error):
        return []
    return [(str(table), int(pid), str(user), str(app)) for table, pid, user, app in found]
