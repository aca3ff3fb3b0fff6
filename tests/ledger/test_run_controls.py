"""The control of a shared run in its ledger: what holds for intents, and for who joins later."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from fluxbatch.domain.money import Micros
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.operations.control import ChangeCap
from fluxbatch.ledger.operations.intents import Intent, KeyUse, OverBudget
from fluxbatch.ledger.operations.runs import OpenedRun, OpenRun
from fluxbatch.ledger.sharing.lanes import Lease, take_lanes
from fluxbatch.ledger.sharing.run_controls import (
    RunControls,
    obedience,
    read_controls,
    tell_lanes,
    write_controls,
)
from fluxbatch.ledger.sharing.shared_runs import OpenSharedRun
from fluxbatch.ledger.sharing.workers import join, leave
from fluxbatch.ledger.writer import commit
from tests.ledger.support import BUYER, DAY, MODEL, PRICE, Books, fetch, make_rows

_names = itertools.count()


@pytest.fixture
def db(postgres_url: str) -> Iterator[PostgresDatabase]:
    with closing(PostgresDatabase(postgres_url, f"steered {next(_names)}", create=True)) as opened:
        yield opened


@pytest.fixture
def books(db: PostgresDatabase) -> Books:
    """A run that the worker `one` has begun."""
    books = Books(db)
    books.manifest_seq = books.import_rows("manifest-1", make_rows(5))
    join(db, "one", "run")
    books.run = begun(books, "one")
    return books


def begun(books: Books, worker: str, cap: Micros | None = None) -> OpenedRun:
    """The run as that worker begins or joins it."""
    run = OpenRun(
        books.now(), "NIGHT", books.manifest_seq, MODEL, {"run": cap}, DAY, "{}", "1", "here", 1,
        is_named=True,
    )  # fmt: skip
    return commit(books.db, OpenSharedRun(run, worker, None, None, 9))


def intend(books: Books, job: int) -> object:
    """What came of an intent of the lane's holder."""
    fetch(books.db, f"DELETE FROM fluxbatch.lanes WHERE account = '{BUYER.account}' RETURNING 1")
    lease = Lease("buyer", take_lanes(books.db, "buyer", [BUYER.account], 1)[BUYER.account])
    key = KeyUse(BUYER.account, BUYER.key_fingerprint, BUYER.key_label, lease)
    return commit(books.db, replace(books.intent(job), key_use=key))


def cap_of(books: Books) -> int | None:
    (line,) = [one for one in read_lines(books.db, books.run.run_id, "") if one.scope == "run"]
    return line.cap


def change_cap(books: Books, cap: Micros) -> None:
    """As `ctl` does it."""
    at, run = SystemClock().now(), books.run
    commit(books.db, ChangeCap(at, run.seq, run.run_id, cap, "a cap", ""))
    controls = read_controls(books.db, run.seq)
    write_controls(books.db, run.seq, controls._replace(cap=cap))


def test_no_intent_is_written_in_a_pause(books: Books) -> None:
    paused = RunControls(paused="lunch", latest="paused")
    assert isinstance(intend(books, 1), Intent)
    assert write_controls(books.db, books.run.seq, paused) == 1
    assert intend(books, 2) == paused._replace(number=1)
    write_controls(books.db, books.run.seq, paused._replace(paused=None))
    assert isinstance(intend(books, 2), Intent)


def test_no_intent_is_written_on_a_lane_that_is_off(books: Books) -> None:
    off = RunControls(lanes_off=frozenset({BUYER.account}))
    write_controls(books.db, books.run.seq, off)
    assert intend(books, 1) == off._replace(number=1)
    write_controls(books.db, books.run.seq, RunControls(lanes_off=frozenset({"another"})))
    assert isinstance(intend(books, 1), Intent)


def test_controls_come_back_as_they_were_written(books: Books) -> None:
    """
    Whatever the reason is made of.
    """
    asked = RunControls(
        0, 'a "reason",\n%s :x \\', 60, 5, frozenset({"a", "b"}), PRICE, "budget $1 by me"
    )
    write_controls(books.db, books.run.seq, asked)
    assert read_controls(books.db, books.run.seq) == asked._replace(number=1)
    write_controls(books.db, books.run.seq, asked._replace(paused="nul \0, half \ud800"))
    assert read_controls(books.db, books.run.seq).paused == "nul \ufffd, half ?"


def test_a_joiner_and_a_day_leave_a_changed_cap_as_it_is(books: Books) -> None:
    """
    Also one that begins anew when nobody is left; another cap that is asked for then wins.
    """
    change_cap(books, PRICE)
    join(books.db, "two", "run")
    assert begun(books, "two").seq == books.run.seq
    assert cap_of(books) == PRICE
    assert isinstance(intend(books, 1), Intent)
    assert isinstance(intend(books, 2), OverBudget)
    for worker in ("one", "two"):
        leave(books.db, worker)
    join(books.db, "three", "run")
    begun(books, "three")
    assert cap_of(books) == PRICE
    leave(books.db, "three")
    join(books.db, "four", "run")
    begun(books, "four", Micros(9 * PRICE))
    assert cap_of(books) == 9 * PRICE
    assert read_controls(books.db, books.run.seq).cap is None


def test_a_pause_is_there_for_whoever_begins_anew(books: Books) -> None:
    write_controls(books.db, books.run.seq, RunControls(paused=""))
    leave(books.db, "one")
    join(books.db, "one", "run")
    begun(books, "one")
    assert isinstance(intend(books, 1), RunControls)


def test_who_has_not_read_the_controls_is_told_from_who_has(books: Books) -> None:
    join(books.db, "idle", "run")
    assert [one.number for one in obedience(books.db)] == [None]
    tell_lanes(books.db, "one", 3, [{"account": "a", "label": "work"}])
    (one,) = obedience(books.db, books.run.seq)
    assert (one.worker.worker, one.number, one.lanes[0]["label"]) == ("one", 3, "work")
    assert obedience(books.db, books.run.seq + 1) == []


def test_all_that_is_otherwise_is_said_in_words() -> None:
    asked = RunControls(1, "lunch", 60, 5, frozenset({"a"}), PRICE)
    assert asked.in_force == (
        "paused: lunch, budget $0.025, limits.creates 60, limits.slots 5, lanes off: 1"
    )
    assert RunControls(3).in_force == ""
