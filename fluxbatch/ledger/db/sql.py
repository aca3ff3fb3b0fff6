"""Statements written once in SQLAlchemy Core and compiled once per dialect.

Owns the step from a Core construct to the text and the parameters that a DBAPI
takes; results come back as plain tuples. The engine never pays for
SQLAlchemy at run time: on SQLite that was five times the cost (docs/design/protocol.md 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    JSON,
    BindParameter,
    ClauseElement,
    ColumnElement,
    Dialect,
    Table,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

SqlDialect = Literal["sqlite", "postgresql"]
Params = Mapping[str, Any] | tuple[Any, ...]
"""By name; or, for a statement with an `order`, by place."""
Build = Callable[["Dialects"], ClauseElement]


@cache
def dialect_of(name: SqlDialect) -> Dialect:
    """SQLAlchemy's own; PostgreSQL's is imported where it is used, a tenth of a run's imports."""
    if name == "sqlite":
        return sqlite.dialect(paramstyle="qmark")
    from sqlalchemy.dialects.postgresql import psycopg

    return psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


class Dialects:
    """What differs between the two databases while a statement is written."""

    def __init__(self, name: SqlDialect) -> None:
        self.name = name

    def insert(self, table: Table) -> sqlite.Insert:
        """An insert that knows ON CONFLICT; both dialects' spell its methods alike."""
        if self.name == "sqlite":
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)  # type: ignore[return-value]


class Prepared(NamedTuple):
    """A statement as the DBAPI of one dialect takes it."""

    text: str
    values: Callable[[Params], tuple[Any, ...]]
    """The parameters in the text's order: bound by position they cost half."""


class Statement:
    """One statement, compiled once for each dialect."""

    __slots__ = ("_build", "_order", "_prepared")

    def __init__(self, build: Build, *, order: Sequence[str] | None = None) -> None:
        """With *order* its parameters come as tuples of these names: rows by the million do."""
        self._build = build
        self._order = order
        self._prepared: dict[SqlDialect, Prepared] = {}

    def prepared(self, name: SqlDialect) -> Prepared:
        prepared = self._prepared.get(name)
        if prepared is None:
            prepared = self._prepared[name] = self._prepare(name)
        return prepared

    def _prepare(self, name: SqlDialect) -> Prepared:
        compiled = self._build(Dialects(name)).compile(dialect=dialect_of(name))
        if stray := [key for key, value in compiled.params.items() if value is not None]:
            raise AssertionError(f"write {stray} with constant(): {compiled}")
        assert isinstance(compiled, SQLCompiler)
        names = tuple(compiled.positiontup or ())
        if self._order is None:
            return Prepared(str(compiled), _picker(names))
        places = tuple(self._order.index(name) for name in names)
        return Prepared(str(compiled), _picker(places))


def _picker(keys: tuple[Any, ...]) -> Callable[[Params], tuple[Any, ...]]:
    """By names from a mapping, or by places from a tuple."""
    if keys and keys == tuple(range(len(keys))):
        return tuple  # they lie in order already, and a tuple's tuple is itself
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda params: tuple(params[key] for key in keys)


def postgres_statement(words: str) -> Statement:
    """A statement in PostgreSQL's own words, for what no file has; parameters are `:name`."""
    return Statement(lambda _: text(words))


def insert_all(dialects: Dialects, table: Table, *, but: Sequence[str] = ()) -> sqlite.Insert:
    """An insert of every column of *table* but some; each parameter is called like its column."""
    names = [column.name for column in table.columns if column.name not in but]
    return dialects.insert(table).values({name: bindparam(name) for name in names})


def insert_numbered(dialects: Dialects, table: Table, names: Sequence[str]) -> sqlite.Insert:
    """An insert of the columns *names* for `Database.insert`, which answers the row's `seq`.

    SQLite gives it by itself, in half the time of RETURNING.
    """
    statement = dialects.insert(table).values({name: bindparam(name) for name in names})
    if dialects.name == "sqlite":
        return statement
    return statement.returning(table.c.seq)  # type: ignore[return-value]  # an Insert all the same


def constant(value: str | int) -> ColumnElement[Any]:
    """A value written into the statement's text: a bound one would hide a partial index."""
    text = str(value)
    if isinstance(value, str):
        if not text.replace("_", "").isalnum():
            raise AssertionError(f"{text!r} needs quoting; bind it")
        text = f"'{text}'"
    return literal_column(text)


def clean(text: str | None) -> str | None:
    """*text* as both databases can keep it: without NULs and halves of surrogate pairs."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def one_of(column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """`column IN (…)` of constants."""
    return column.in_([constant(value) for value in values])


def among(dialects: Dialects, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether *column* is the parameter `keys`; on a server, one of many in a JSON array."""
    keys: BindParameter[str] = bindparam("keys")
    if dialects.name == "sqlite":
        return column == keys
    key = func.json_array_elements_text(cast(keys, JSON)).column_valued("key")
    return column.in_(select(cast(key, column.type)))
