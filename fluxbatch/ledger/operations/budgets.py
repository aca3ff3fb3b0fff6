"""The budget lines of each cap: what is reserved, settled and estimated.

Owns the `budgets` table. Every change of a prediction's money changes its run's,
its day's and the dataset's line in the same transaction; `audit` compares them
with the sum over the predictions. Whoever changes lines locks them in one order: the
dataset's, the day's, the run's. Source:
docs/design/protocol.md 5.
"""

from __future__ import annotations

from collections.abc import Container
from operator import add
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
)

from fluxbatch.domain.money import SCOPES, Balance, Caps, Micros, Scope, as_usd
from fluxbatch.errors import LedgerError
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import KeyedQuery, Rows, row_addition
from fluxbatch.ledger.db.sql import Dialects, Statement, constant, insert_all

_b = schema.budgets.c
_p = schema.predictions.c

_OURS = or_(
    and_(_b.scope == constant("run"), _b.key == bindparam("run_id")),
    and_(_b.scope == constant("day"), _b.key == bindparam("day")),
    and_(_b.scope == constant("dataset"), _b.key == literal_column("''")),
)
_READ = Statement(
    lambda _: select(_b.scope, _b.key, _b.cap, _b.reserved, _b.settled, _b.estimated).where(_OURS)
)
_COLUMNS = "SELECT scope, key, cap, reserved, settled, estimated FROM budgets"
_LINE_OF_FILE = f"{_COLUMNS} WHERE scope = :key_0 AND key = :key_1"
# By their names: the one that all share is locked first, so that two runs, or two days at midnight,
# cannot each wait for the other's.
_LINES_LOCKED = (
    f"{_COLUMNS} WHERE (scope, key) IN ("
    "SELECT line ->> 0, line ->> 1 FROM json_array_elements(CAST(:keys AS json)) AS line"
    ") ORDER BY scope, key FOR UPDATE"
)
_LOCK = KeyedQuery(lambda d: text(_LINE_OF_FILE if d.name == "sqlite" else _LINES_LOCKED), width=2)
_BOOK = row_addition(schema.budgets, ("scope", "key"), ("reserved", "settled", "estimated"))
_OPEN = Statement(
    lambda d: insert_all(d, schema.budgets).on_conflict_do_update(
        index_elements=["scope", "key"], set_={"cap": bindparam("cap")}
    )
)


def open_lines(
    db: Database, run_id: str, day: str, caps: Caps, *, but: Container[Scope] = ()
) -> None:
    """Make sure the three lines exist and carry the latest caps; *but* these are left alone."""
    keys = dict(zip(SCOPES, (run_id, day, ""), strict=True))
    for scope, key in sorted(keys.items()):
        if scope in but:
            continue
        line = {"scope": scope, "key": key, "cap": caps.get(scope)}
        db.run(_OPEN, {**line, "reserved": 0, "settled": 0, "estimated": 0})


def read_lines(db: Database, run_id: str, day: str) -> list[Balance]:
    """The lines a create of this run on this day counts against, as they are; the nearest first."""
    records = db.run(_READ, {"run_id": run_id, "day": day})
    return sorted((Balance(*record) for record in records), key=_nearness)


def expect_lines(rows: Rows, run_id: str, day: str) -> None:
    """`lock_lines` is going to be asked for them."""
    for line in _lines_of(run_id, day):
        rows.expect(_LOCK, line)


def lock_lines(db: Database, run_id: str, day: str) -> list[Balance]:
    """The same, and nobody else changes them before the transaction ends."""
    keys = _lines_of(run_id, day)
    found = db.rows.of_each(_LOCK, keys)
    lines = [_with_added(db.rows, Balance(*row)) for key in keys for row in found[key]]
    return sorted(lines, key=_nearness)


def book_budgets(
    db: Database, run_id: str, day: str, *, reserved: int = 0, settled: int = 0, estimated: int = 0
) -> None:
    """Add to the three lines; a negative amount takes away."""
    for line in _lines_of(run_id, day):
        db.rows.add(_BOOK, line, (reserved, settled, estimated))


def _lines_of(run_id: str, day: str) -> tuple[tuple[Scope, str], ...]:
    return ("dataset", ""), ("day", day), ("run", run_id)


def _with_added(rows: Rows, line: Balance) -> Balance:
    """A line with what was booked since it was read."""
    reserved, settled, estimated = rows.added(_BOOK, (line.scope, line.key))
    return Balance(
        line.scope,
        line.key,
        line.cap,
        Micros(line.reserved + reserved),
        Micros(line.settled + settled),
        Micros(line.estimated + estimated),
    )


def _nearness(line: Balance) -> int:
    return SCOPES.index(line.scope)


_NOTHING = (0, 0, 0)


def _lines(_: Dialects) -> CompoundSelect[Any]:
    """Every line as recorded, and beside them what the predictions of a run and a day sum up to."""
    settled = func.sum(case((_p.estimated == constant(0), _p.cost)))
    estimated = func.sum(case((_p.estimated == constant(1), _p.cost)))
    sums = [func.coalesce(one, constant(0)) for one in (func.sum(_p.reserved), settled, estimated)]
    group = (_p.run_seq, _p.state, _p.estimated, _p.budget_day)  # an index has them in this order
    by_run = select(*group, *sums).group_by(*group).subquery("by_run")
    run_seq, _state, _estimated, day, *found = by_run.c
    return union_all(
        select(constant("recorded"), _b.scope, _b.key, _b.reserved, _b.settled, _b.estimated),
        select(constant("found"), schema.runs.c.id, day, *found).join_from(
            by_run, schema.runs, schema.runs.c.seq == run_seq
        ),
    )


_AUDIT = Statement(_lines)


def audit(db: Database) -> None:
    """Compare every line with the sum over the predictions; raise `LedgerError` on a difference.

    One statement reads both sides, so a reader may ask while the writer works.
    """
    recorded: dict[tuple[str, str], tuple[int, ...]] = {}
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for side, name, detail, *parts in db.run(_AUDIT):
        amounts = tuple(int(part) for part in parts)
        if side == "recorded":
            recorded[name, detail] = amounts
            continue
        for line in (("run", name), ("day", detail), ("dataset", "")):
            found[line] = tuple(map(add, found.get(line, _NOTHING), amounts))
    for line in (*recorded, *found):
        if recorded.get(line, _NOTHING) != found.get(line, _NOTHING):
            raise _difference(*line, recorded.get(line, _NOTHING), found.get(line, _NOTHING))


def _difference(
    scope: str, key: str, recorded: tuple[int, ...], found: tuple[int, ...]
) -> LedgerError:
    def words(amounts: tuple[int, ...]) -> str:
        return "/".join(as_usd(Micros(amount)) for amount in amounts)

    return LedgerError(
        f"the books of {scope} {key!r} say {words(recorded)} USD reserved/settled/estimated, its"
        f" predictions {words(found)}; nothing more is bought. Restore the ledger from a backup"
    )
