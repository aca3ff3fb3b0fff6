"""The rights of a database's user: which are missing for a ledger, and who may give them.

Owns what is looked for before anything is made or read, and the words of a refusal: the statement
to be run, and by whom. Gives no right itself. Source: docs/guide/many-machines.md.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from fluxbatch.errors import ConfigError
from fluxbatch.ledger.sharing.tables import SHARED

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.Connection[tuple[Any, ...]]

_NAMED = 10
_READS = "SELECT"
_WRITES = "SELECT, INSERT, UPDATE, DELETE"
_MAY_WRITE = " AND ".join(f"has_table_privilege(c.oid, '{one}')" for one in _WRITES.split(", "))

_SCHEMAS = f"""
    SELECT n.nspname, pg_get_userbyid(n.nspowner),
        has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'),
        bool_or(c.relname = 'ledger_version'),
        bool_and(has_table_privilege(c.oid, 'SELECT'))
            FILTER (WHERE c.relname = 'ledger_version'),
        bool_and({_MAY_WRITE})
    FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
    WHERE n.nspname = %s GROUP BY n.oid
"""
_DATABASE = """
    SELECT has_database_privilege(oid, 'CREATE'), datname, pg_get_userbyid(datdba)
    FROM pg_database WHERE datname = current_database()
"""


class NoSuchDataset(ConfigError):
    """There is no ledger of that name in the database."""


class _Schema(NamedTuple):
    """A schema, and what the user may do in it."""

    name: str
    owner: str
    may_use: bool
    may_make: bool
    has_ledger: bool | None
    may_look: bool | None
    """At the ledger's version."""
    may_write: bool | None
    """In all tables; None where there is none."""


def refuse_without_rights(
    connection: _Connection, dataset: str, *, read_only: bool, create: bool
) -> bool:
    """Raise `ConfigError` where a right is missing that opening the ledger so takes; answers
    whether its schema is there.

    Who creates is asked for the rights to all tables: a run that lacks one would end in the midst.
    """
    mine = _schema(connection, dataset)
    if mine is None:
        if create:
            _refuse_making(connection, dataset)
    elif not mine.may_use or mine.may_look is False:
        raise _not_yours(connection, mine, _READS if read_only else _WRITES)
    elif create and not mine.has_ledger and not mine.may_make:
        raise ConfigError(
            f"{_user(connection)} may not make a ledger in the schema {dataset!r}; choose another"
            f" name, or let {mine.owner!r} run:"
            f"  GRANT USAGE, CREATE ON SCHEMA {identifier(dataset)} TO {_name(connection)}"
        )
    elif create and mine.has_ledger and not mine.may_write:
        raise _not_yours(connection, mine, _WRITES)
    if create:
        _refuse_sharing(connection, dataset)
    return mine is not None


def _refuse_sharing(connection: _Connection, dataset: str) -> None:
    shared = _schema(connection, SHARED)
    if shared is None:
        _refuse_making(connection, dataset)
    elif not shared.may_use or shared.may_write is False:
        raise _not_yours(connection, shared, _WRITES)


def _refuse_making(connection: _Connection, dataset: str) -> None:
    ((may_make, database, owner),) = connection.execute(_DATABASE).fetchall()
    if not may_make:
        raise ConfigError(
            f"{_user(connection)} may not make the dataset {dataset!r}: it becomes a schema of the"
            f" database {database!r}; let {owner!r}, its owner, run:"
            f"  GRANT CREATE ON DATABASE {identifier(database)} TO {_name(connection)}"
        )


def _not_yours(connection: _Connection, schema: _Schema, rights: str) -> ConfigError:
    what = f"the dataset {schema.name!r}"
    if schema.name == SHARED:
        what = f"the schema {SHARED!r}, which all datasets of the database share"
    verb = "read" if rights == _READS else "write to"
    return ConfigError(
        f"{_user(connection)} may not {verb} {what}; let {schema.owner!r}, its owner, run:"
        f"  {_grants(schema.name, rights, _name(connection))}"
    )


def _grants(schema: str, rights: str, user: str) -> str:
    place = f"SCHEMA {identifier(schema)} TO {user}"
    return f"GRANT USAGE ON {place}; GRANT {rights} ON ALL TABLES IN {place}"


def denied(user: str, dataset: str, exc: psycopg.Error) -> ConfigError:
    """What a right that was missing after all is told as; nothing is asked for it."""
    why = exc.diag.message_primary or "permission denied"
    schemas = f"{identifier(dataset)}, {SHARED}"
    return ConfigError(
        f"the ledger {dataset!r} refuses this to the user {user!r}: {why}; let the owner of its"
        f" schema do it, or run:  GRANT USAGE ON SCHEMA {schemas} TO {identifier(user)};"
        f" GRANT {_WRITES} ON ALL TABLES IN SCHEMA {schemas} TO {identifier(user)}"
    )


def not_there(connection: _Connection, dataset: str) -> NoSuchDataset:
    """Why nothing is opened, with the datasets that are there."""
    rows = connection.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'ledger_version' ORDER BY 1"
    ).fetchall()
    names = [str(name) for (name,) in rows]
    near = difflib.get_close_matches(dataset, names, n=1, cutoff=0.6)
    if near:
        return NoSuchDataset(f"there is no dataset {dataset!r} there; did you mean {near[0]!r}?")
    known = ", ".join(repr(name) for name in names[:_NAMED]) or "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return NoSuchDataset(f"there is no dataset {dataset!r} there, only {known}{more}")


def _schema(connection: _Connection, name: str) -> _Schema | None:
    rows = connection.execute(_SCHEMAS, [name]).fetchall()
    return _Schema(*rows[0]) if rows else None


def _user(connection: _Connection) -> str:
    return f"the user {connection.info.user!r}"


def _name(connection: _Connection) -> str:
    return identifier(connection.info.user)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
