"""The connection to a PostgreSQL ledger: its URL, its schema's name, its turn to write.

Owns what is refused before a server is asked and of a server that could lose commits, how a
transaction begins, how long a statement and a lock may take, and that no error of opening tells
a password. A session's settings are never relied on: a pooler may give each transaction another.
Knows no table but the one that bears the version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

from fluxbatch.errors import (
    ConfigError,
    DatabaseFailed,
    FluxbatchError,
    HeldElsewhere,
    LedgerError,
    ServerRefuses,
)
from fluxbatch.ledger.db import postgres_rights
from fluxbatch.ledger.db.server_hosts import is_all_silence, seconds_per_address, silence
from fluxbatch.ledger.db.server_options import (
    PASSWORD_PLACE,
    holds_secret,
    refuse_bad_options,
    unspoken,
)
from fluxbatch.ledger.sharing.tables import ALIVE, OF_ALL_DATASETS, OF_THE_DATASET, SHARED

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composed

    Connection = psycopg.Connection[tuple[Any, ...]]

STATEMENT_MS = 5_000
READERS_WAIT_MS = 4_000
"""For a table that another session holds: shorter than for an answer, so that each is told as it
is."""
_IDLE_MS = 2_000
"""Between two statements of a transaction that may hold locks: who is cut off there lets go."""
_SILENT_MS = 10_000
"""Without a sign of life from the server's machine, the connection is gone."""
MUCH_TIME = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 60000"
"""For the rest of a transaction that writes rows by the million, and reads files in between."""
_HAS_END = 170_000
"""The version from which a transaction as a whole may be given an end."""
_NO_END = "; SET LOCAL transaction_timeout = 0"
_OLDEST = 14
"""The oldest major version of PostgreSQL that is used."""
_TURN = 0x666C7578
"""Keeps this program's advisory locks apart from those of others in the same database."""

_MOST_BYTES = 63
"""Of a name that PostgreSQL keeps. Longer ones it cuts, without a word that reaches anybody."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters, ends of lines, and what turns the direction of writing."""
_RESERVED = re.compile(r"pg_.*|information_schema|fluxbatch", re.DOTALL)
"""Schemas that are PostgreSQL's, or that all datasets share."""

_HOST = re.compile(r"[A-Za-z0-9._,%-]*|[0-9A-Fa-f:.,%]*|/[^@]*")
_SHAPE = f"its URL is not of the form 'postgresql://[USER@]HOST[:PORT]/DATABASE'; {PASSWORD_PLACE}"
_REFUSED_OPTIONS = re.compile(
    "unrecognized configuration parameter|parameter .* (?:cannot be|could not be|requires)"
    "|permission denied to set|invalid (?:value for|command-line|configuration)"
)


def schema_of(dataset: str) -> str:
    """The schema of a dataset: its name, where PostgreSQL keeps it whole; else `ConfigError`."""
    name = f"a dataset cannot have the name {dataset!r}: "
    try:
        size = len(dataset.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"{name}it is not text") from None
    if not dataset or "\0" in dataset:
        raise ConfigError(f"{name}{'it has a NUL' if dataset else 'it is empty'}")
    if _UNSEEN.search(dataset):
        raise ConfigError(f"{name}it has a sign that steers a terminal, as a line's end does")
    if size > _MOST_BYTES:
        raise ConfigError(
            f"{name}it has {size} bytes and PostgreSQL keeps {_MOST_BYTES}; choose a shorter one"
        )
    if _RESERVED.fullmatch(dataset):
        raise ConfigError(f"{name}it is kept for other purposes; choose another one")
    return dataset


def connected(url: str, dataset: str) -> Connection:
    """A connection in autocommit mode; raise `DatabaseFailed` where there is none, `LedgerError`
    where there cannot be one, both without the password.

    A URL that is not well formed is not repeated at all: nobody can say which part of it is the
    password. Nor is the driver's own error kept as the cause, whose text has it too.
    """
    try:
        import psycopg.types.array
    except ImportError:
        raise ConfigError(
            "a PostgreSQL ledger needs psycopg: pip install 'fluxbatch-engine[postgres]'"
        ) from None
    schema_of(dataset)
    parts, began_s = _checked_parts(url, dataset), monotonic()
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            client_encoding="UTF8",
            connect_timeout=seconds_per_address(parts),
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=_SILENT_MS,
        )
    except (psycopg.Error, ValueError) as exc:
        if "options" in parts and _REFUSED_OPTIONS.search(str(exc)):
            why = "the server refuses what is in the option 'options' of its URL; leave it out"
            _refuse(dataset, why, ConfigError)
        if (refusal := _why_no_password(exc, parts)) is not None:
            _refuse(dataset, refusal, ServerRefuses)
        if isinstance(exc, psycopg.errors.ConnectionTimeout) and is_all_silence(str(exc)):
            _refuse(dataset, silence(parts, monotonic() - began_s), DatabaseFailed)
        # Who was at work waits for a server that is down (`ledger.patience`).
        is_down = isinstance(exc, psycopg.OperationalError)
        _refuse(dataset, _spoken(exc, parts), DatabaseFailed if is_down else LedgerError)
    # A list of prompts or ids as text takes ten times as long, for what may need a backslash.
    connection.adapters.register_dumper(list, psycopg.types.array.ListBinaryDumper)
    return connection


def _why_no_password(exc: Exception, parts: Mapping[str, str]) -> str | None:
    """Why the server does not let this user in, where that is for want of the right password."""
    user = f" of the user {parts['user']!r}" if "user" in parts else ""
    ended = getattr(exc, "pgconn", None)
    if getattr(ended, "needs_password", False):
        what = f"the server asks for the password{user}, and there is none: "
    elif getattr(ended, "used_password", False) and "authentication failed" in str(exc):
        what = f"the server was given a wrong password{user}: "
    else:
        return None
    return f"{what}set PGPASSWORD, or write it into ~/.pgpass"


def _spoken(exc: Exception, parts: Mapping[str, str]) -> str:
    """The driver's words without what of the URL may be a password."""
    words = str(exc)
    secrets = [value for name, value in parts.items() if "password" in name]
    for secret in [*secrets, *unspoken(parts.items())]:
        words = words.replace(secret, "***") if secret else words
    return words


def transaction_start(dataset: str, server_version: int, *, read_only: bool) -> Composed:
    """The statements that begin a transaction in the dataset's schema, in one round trip.

    A reader has one snapshot and no lock, so that it may pause as long as it likes. What a text
    in the same message means is settled before these are run: none has a bare backslash.
    """
    from psycopg import sql

    kind = "REPEATABLE READ READ ONLY" if read_only else "READ COMMITTED READ WRITE"
    return sql.SQL(
        "BEGIN ISOLATION LEVEL {}; SET LOCAL search_path TO {};"
        " SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {};"
        " SET LOCAL standard_conforming_strings = on;"
        " SET LOCAL idle_in_transaction_session_timeout = {}{}"
    ).format(
        sql.SQL(kind),
        sql.Identifier(schema_of(dataset)),
        STATEMENT_MS,
        READERS_WAIT_MS if read_only else 0,
        0 if read_only else _IDLE_MS,
        sql.SQL(_NO_END if server_version >= _HAS_END else ""),
    )


def why_unsafe(server_version: int, fsync: str, synchronous_commit: str) -> str | None:
    """Why a server with these settings may not keep a ledger: too old, or it forgets commits."""
    if server_version < _OLDEST * 10_000:
        return f"it is PostgreSQL {server_version // 10_000}; {_OLDEST} or newer is needed"
    for name, value in (("fsync", fsync), ("synchronous_commit", synchronous_commit)):
        if value == "off":
            return (
                f"it has {name}=off: after a crash it would have forgotten what was paid for, and"
                f" that would be bought again; set {name}=on"
            )
    return None


def _refuse_encoding(connection: Connection, dataset: str) -> None:
    """Before any name of ours is sent: another encoding may not have its letters."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise ConfigError(
            f"the database of the ledger {dataset!r} cannot be used: it keeps texts in"
            f" {encoding!r}, which lacks letters that prompts may have; make another one, and name"
            " it in the address:  CREATE DATABASE pictures ENCODING 'UTF8' TEMPLATE template0"
        )


def _refuse_unsafe(connection: Connection, dataset: str) -> None:
    rows = connection.execute(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
    ).fetchall()
    why = why_unsafe(connection.info.server_version, *rows[0])
    if why is not None:
        raise ConfigError(f"the server of the ledger {dataset!r} cannot be used: {why}")


def begin_opening(
    connection: Connection, dataset: str, *, read_only: bool, create: bool
) -> tuple[int, bool]:
    """Begin a transaction in the dataset's schema; answers its ledger's version, 0 for a new one,
    and whether the schema was made now.

    Only with *create* is a schema made, else `NoSuchDataset` where there is none.
    """
    import psycopg
    from psycopg import sql

    _refuse_encoding(connection, dataset)
    if not read_only and connection.info.parameter_status("in_hot_standby") == "on":
        raise _only_reads(dataset)
    version = connection.info.server_version
    try:
        connection.execute(transaction_start(dataset, version, read_only=read_only))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.ReadOnlySqlTransaction):
        raise _only_reads(dataset) from None  # a pooler does not say what its server is
    if not read_only:
        _refuse_unsafe(connection, dataset)
        # Two processes may make or migrate a ledger at once; one of them does.
        take_turn(connection, dataset, STATEMENT_MS)
    rights = {"read_only": read_only, "create": create}
    is_there = postgres_rights.refuse_without_rights(connection, dataset, **rights)
    if create and not is_there:
        schema = sql.Identifier(schema_of(dataset))
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    if connection.execute("SELECT to_regclass('ledger_version')").fetchone() == (None,):
        if not create:
            raise postgres_rights.not_there(connection, dataset)
        return 0, not is_there
    rows = connection.execute("SELECT version FROM ledger_version").fetchall()
    return int(rows[0][0]), False


def _only_reads(dataset: str) -> ServerRefuses:
    return ServerRefuses(
        f"the ledger {dataset!r} is on a standby, which only reads: name the primary's address, or"
        " both:  postgresql://HOST,HOST/DATABASE/NAME?target_session_attrs=read-write"
    )


def refuse_workers(connection: Connection, dataset: str) -> None:
    """Raise `HeldElsewhere` where processes of an older version are at work on an older schema."""
    if connection.execute("SELECT to_regclass('workers')").fetchone() == (None,):
        return
    rows = connection.execute(ALIVE).fetchall()
    if rows:
        host, pid, version = rows[0]
        raise HeldElsewhere(
            f"the ledger {dataset!r} has an older schema, and fluxbatch {version} is at work on it"
            f" on {host} (pid {pid}); stop it, then run again"
        )


def make_shared_tables(connection: Connection) -> None:
    """Within the transaction that opens a ledger: what several processes share it by."""
    rows = connection.execute(  # the newest of each; a catalog may be read by everybody
        "SELECT to_regclass('run_gates'), to_regclass('rating_changes'), (SELECT 1 FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s)",
        [SHARED, "failover_searches"],
    )
    ((*newest_of_its_own, newest_shared),) = rows.fetchall()
    if None in newest_of_its_own:
        for text in OF_THE_DATASET:
            connection.execute(text)
    if newest_shared is None:  # else another user's, perhaps, who lets this one use them alone
        take_turn(connection, SHARED, STATEMENT_MS)  # datasets may be made side by side
        for text in OF_ALL_DATASETS:
            connection.execute(text)


def turn_start(dataset: str, server_version: int, busy_ms: int) -> Composed:
    """The statements that begin a transaction and make it the dataset's only writer, in one round
    trip; it waits its turn for so long."""
    from psycopg import sql

    return sql.SQL("; ").join(
        [transaction_start(dataset, server_version, read_only=False), _turn(dataset, busy_ms)]
    )


def take_turn(connection: Connection, dataset: str, busy_ms: int) -> None:
    """Within a transaction: be its dataset's only writer until it ends."""
    connection.execute(_turn(dataset, busy_ms))


def _turn(dataset: str, busy_ms: int) -> Composed:
    from psycopg import sql

    return sql.SQL(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {};"
        " SELECT pg_advisory_xact_lock({}, hashtext({}));"
        " SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = {}"
    ).format(busy_ms, _TURN, dataset, STATEMENT_MS)


def _checked_parts(url: str, dataset: str) -> Mapping[str, str]:
    """The parts of a well-formed URL, its password among them."""
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    if "\0" in url:
        _refuse(dataset, _SHAPE, ConfigError)
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except (Error, ValueError):
        _refuse(dataset, _SHAPE, ConfigError)
    # What a password with a delimiter spills into its neighbours.
    whole = (
        _HOST.fullmatch(parts.get("host", ""))
        and not re.search("[@:/]", parts.get("dbname", ""))
        and not re.search("[:/]", parts.get("user", ""))
    )
    if not whole:
        _refuse(dataset, _SHAPE, ConfigError)
    options = [(name, value) for name, value in parts.items() if not holds_secret([(name, value)])]
    try:
        refuse_bad_options(options)
    except ConfigError as exc:
        _refuse(dataset, str(exc), ConfigError)
    return parts


def _refuse(dataset: str, why: str, kind: type[FluxbatchError] = LedgerError) -> NoReturn:
    raise kind(f"cannot open the ledger {dataset!r}: {why}") from None
