"""The PostgreSQL of a simulation: a real one, whose clock and timeline are the simulation's.

Owns the server of this process, a database that is as new for each seed, and what its
`clock_timestamp()` says: virtual time, and the steps that somebody set it by. Autovacuum is off:
nothing may happen there by itself.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from typing import Any

import psycopg

from fluxbatch.ledger.db.database import NO_PARAMS
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Params, Statement
from tests.support.clock import EPOCH
from tests.support.postgres import serve_postgres

DATASETS = ("set0", "set1")
_US = 1_000_000
_MODEL, _WORLD = "fluxbatch_model", "fluxbatch_world"
_VIRTUAL = """
    SET allow_system_table_mods = on;
    CREATE SCHEMA sim;
    CREATE SEQUENCE sim.timeline;
    ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO real_clock_timestamp;
    CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        $$SELECT timestamptz 'epoch'
            + CAST(coalesce(current_setting('sim.now', true), '0') AS bigint) * interval '1 us'$$;
    ALTER FUNCTION pg_catalog.pg_walfile_name(pg_lsn) RENAME TO real_pg_walfile_name;
    CREATE FUNCTION pg_catalog.pg_walfile_name(pg_lsn) RETURNS text LANGUAGE sql VOLATILE AS
        $$SELECT lpad(to_hex(last_value), 8, '0') || repeat('0', 16) FROM sim.timeline$$
"""
"""By names that the ledger's statements find; the real ones are built in and cannot be changed."""


class TimedDatabase(PostgresDatabase):
    """A ledger whose transactions are told the server's time as they begin."""

    def __init__(self, server: VirtualServer, dataset: str, **how: bool) -> None:
        self._server = server
        self._began_us = -1
        super().__init__(server.url, dataset, **how)
        self._starts = self._start, self._start_turn

    def begin(self) -> None:
        self.look_at_clock()
        super().begin()

    def begin_turn(self) -> None:
        self.look_at_clock()
        super().begin_turn()

    def run(self, statement: Statement, params: Params = NO_PARAMS) -> list[DbRow]:
        self.look_at_clock()
        if self.is_in_transaction():
            return super().run(statement, params)
        self.rows.settle()
        (found,) = self.run_all([(statement, params)])  # one message to the server, not three
        return found

    def look_at_clock(self) -> None:
        now_us = self._server.now_us()
        if now_us != self._began_us:
            self._began_us = now_us
            now = f"SET LOCAL sim.now TO {now_us}"
            start, turn = self._starts
            self._start, self._start_turn = f"{start}; {now}", f"{turn}; {now}"


class VirtualServer:
    """One database for one simulation; `time` is how the loop tells it."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.url = _new_world()
        self._time = time
        self._connection = psycopg.connect(self.url, autocommit=True)
        self._ahead_s = 0.0
        self._timeline = 1

    def now_us(self) -> int:
        """What its clock shows by now."""
        return int((EPOCH.timestamp() + self._time() + self._ahead_s) * _US)

    def step(self, by_s: float) -> None:
        """Somebody sets its clock."""
        self._ahead_s += by_s

    def promote(self) -> None:
        """Another server is in its place, which lacks nothing."""
        self._timeline += 1
        self._connection.execute(f"SELECT setval('sim.timeline', {self._timeline})")

    def close(self) -> None:
        self._connection.close()


def _new_world() -> str:
    url, admin = _server()
    admin.execute(f"DROP DATABASE IF EXISTS {_WORLD} WITH (FORCE)")
    admin.execute(f"CREATE DATABASE {_WORLD} TEMPLATE {_MODEL} STRATEGY file_copy")
    return _database(url, _WORLD)


@cache
def _server() -> tuple[str, psycopg.Connection[tuple[Any, ...]]]:
    """The server of this process, with the database that every simulation begins with."""
    stack = ExitStack()
    atexit.register(stack.close)
    url = stack.enter_context(serve_postgres())
    admin = psycopg.connect(url, autocommit=True)
    admin.execute("ALTER SYSTEM SET autovacuum = off")
    admin.execute("SELECT pg_reload_conf()")
    admin.execute(f"CREATE DATABASE {_MODEL}")
    model = _database(url, _MODEL)
    with psycopg.connect(model, autocommit=True) as connection:
        connection.execute(_VIRTUAL)
    for name in DATASETS:
        PostgresDatabase(model, name, create=True).close()
    with psycopg.connect(model, autocommit=True) as connection:
        for name in DATASETS:  # what was left to chance
            connection.execute(f"UPDATE {name}.ledger_version SET dataset = '{name}'")
        # Its generation began long ago: numbers of seconds in this one and in the next differ.
        began = EPOCH - timedelta(days=10)
        connection.execute("UPDATE fluxbatch.clock SET id = 'virtual', began_at = %s", [began])
    return url, admin


def _database(url: str, name: str) -> str:
    return url.replace("@/postgres?", f"@/{name}?")
