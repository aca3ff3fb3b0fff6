"""The same operations in groups, on a server or in a file, and one by one: the same ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.money import Caps, Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.row_buffer import StatementCalls
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Params, Statement
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.intents import Intent, OverBudget
from fluxbatch.ledger.operations.outputs import Keeping, LoseOutput, StoreOutput
from fluxbatch.ledger.operations.retry import Retry
from fluxbatch.ledger.operations.transitions import Evidence, Transition, TransitionResult
from fluxbatch.ledger.writer import Operation, commit_group
from tests.ledger.support import DAY, PRICE, URL, Books, all_rows, assert_agrees, at, provider_id

E = PredictionEvent
_JOBS = 4
_ROUNDS = 40
_names = itertools.count()
CAPS: Caps = {"run": None, "day": Micros(30 * PRICE), "dataset": None}
ENDS = [E.FAILED, E.GONE, E.CANCELLED, E.OVERDUE, E.SUCCEEDED_EMPTY]
KEEPING = [Keeping(), Keeping(writes_metadata=True), Keeping("{seed}/{prompt}", True)]


class CountingDatabase(PostgresDatabase):
    """Counts the messages to the server."""

    messages = 0

    def run(self, statement: Statement, params: Params = {}) -> list[DbRow]:  # noqa: B006
        self.messages += 1
        return super().run(statement, params)

    def run_all(
        self, calls: StatementCalls, *, start: str = "", end: str = ""
    ) -> list[list[DbRow]]:
        self.messages += 1
        return super().run_all(calls, start=start, end=end)


class Twin:
    """One of two ledgers to which the same happens; numbers are its own."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.books = Books.opened(db, jobs=_JOBS, outputs=2, caps=CAPS)
        self.books.checked = False

    def predictions(self) -> list[dict[str, Any]]:
        return all_rows(self.db, schema.predictions)

    def outputs(self) -> list[dict[str, Any]]:
        return all_rows(self.db, schema.outputs)

    def facts(self) -> list[object]:
        """All but the numbers of rows, which a server may leave out."""
        names = {row["seq"]: f"{row['job_seq']}/{row['attempt']}" for row in self.predictions()}
        files = {
            row["seq"]: (names[row["prediction_seq"]], row["number"]) for row in self.outputs()
        }
        numbers: dict[str, Callable[[int], object]] = {
            "job": int, "prediction": names.__getitem__, "output": files.__getitem__, "run": int,
        }  # fmt: skip

        def plain(row: dict[str, Any]) -> dict[str, Any]:
            subject = row.get("subject")
            told = {name: value for name, value in row.items() if name != "seq"}
            if "prediction_seq" in told:
                told["prediction_seq"] = names[told["prediction_seq"]]
            if subject is not None:
                told["subject_seq"] = numbers[subject](told["subject_seq"])
            return told

        tables = (schema.jobs, schema.predictions, schema.outputs, schema.budgets)
        found: list[object] = [[plain(row) for row in all_rows(self.db, one)] for one in tables]
        history = [plain(row) for row in all_rows(self.db, schema.history)]
        return [
            *found,
            sorted(history, key=lambda line: (line["subject"], str(line["subject_seq"]))),
        ]


@pytest.fixture
def twins(postgres_url: str, tmp_path: Path) -> Iterator[tuple[Twin, Twin]]:
    with (
        closing(CountingDatabase(postgres_url, f"twin {next(_names)}", create=True)) as server,
        closing(SqliteDatabase(tmp_path / "ledger.sqlite")) as file,
    ):
        yield Twin(server), Twin(file)


@pytest.fixture
def twins_in_files(tmp_path: Path) -> Iterator[tuple[Twin, Twin]]:
    with (
        closing(SqliteDatabase(tmp_path / "together.sqlite")) as together,
        closing(SqliteDatabase(tmp_path / "alone.sqlite")) as alone,
    ):
        yield Twin(together), Twin(alone)


Make = Callable[[Twin], Operation[Any]]
"""An operation with the numbers of the ledger it is for."""


def _some(random: Random, twin: Twin, seconds: float, fetched: set[int]) -> Make:
    """Something that may happen, or may not: late, twice, to a job that another one has in hand.

    Only an output comes once (*fetched* is added to): that it comes twice is no error where several
    processes share a ledger, and one in a file.
    """
    choose, now = random.choice, at(seconds)
    bought = twin.predictions()
    kind = choose(
        ["intend", "intend", "event", "event", "event", "event", "store", "store", "chore"]
    )
    if kind == "chore":
        kinds = choose([[], list(FailureClass)])
        return lambda _: Retry(now, kinds)
    places = [n for n, one in enumerate(twin.outputs()) if one["state"] != "stored"]
    if kind == "store" and (left := sorted({*places} - fetched)):
        place = choose(left)
        fetched.add(place)
        return partial(_stored, place=place, seconds=seconds, is_lost=choose([True, *[False] * 5]))
    if kind == "event" and bought:
        place = random.randrange(len(bought))
        event = choose(_likely(bought[place]["state"]))
        evidence = _evidence(random, event, place)
        return partial(
            _moved, place=place, seconds=seconds, event=event, evidence=evidence,
            keeping=choose(KEEPING),
        )  # fmt: skip
    job = random.randint(1, _JOBS)
    price = choose([PRICE, PRICE, Micros(0)])
    return lambda twin: twin.books.intent(job, price=price, day=DAY)


def _likely(state: str) -> Sequence[PredictionEvent]:
    odd = list(E)
    begun = [E.ACCEPTED] * 12 + [E.NO_ANSWER, E.NOT_SENT, E.REJECTED, E.OVER_LIMIT]
    return {
        "submitting": begun + odd[:2],
        "unknown": [E.FOUND, E.ABSENT, E.GIVEN_UP, E.ACCEPTED],
        "running": [E.SUCCEEDED] * 8 + [*ENDS, E.NOT_FINISHED],
    }.get(state, [E.COST_LEARNED, *odd])


def _evidence(random: Random, event: PredictionEvent, place: int) -> Evidence:
    named = event in {E.ACCEPTED, E.FOUND} or random.random() < 0.1
    # Now and then the provider gives one id twice.
    number = place if random.random() < 0.9 else 0
    return Evidence(
        provider_id=provider_id(number) if named else None,
        urls=(URL, URL)[: random.choice([1, 2, 2, 2])] if event is E.SUCCEEDED else (),
        cost=random.choice([None, PRICE, Micros(7)]),
        failure=random.choice([None, FailureClass.TIMEOUT, FailureClass.FILTERED]),
        reason=random.choice([None, "words"]),
        polls=random.randint(0, 3),
    )


def _moved(
    twin: Twin,
    *,
    place: int,
    seconds: float,
    event: PredictionEvent,
    evidence: Evidence,
    keeping: Keeping,
) -> Operation[TransitionResult]:
    seq = twin.predictions()[place]["seq"]
    return Transition(at(seconds), seq, event, evidence, keeping)


def _stored(twin: Twin, *, place: int, seconds: float, is_lost: bool) -> Operation[Any]:
    seq = twin.outputs()[place]["seq"]
    if is_lost:
        return LoseOutput(at(seconds), seq, "no image")
    path = f"images/{place}.png"
    return StoreOutput(at(seconds), seq, path, "ab" * 32, 1_234, "image/png", 64, 48)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("where", ["twins", "twins_in_files"])
def test_a_group_does_what_its_operations_do_one_by_one(
    request: pytest.FixtureRequest, where: str, seed: int
) -> None:
    """
    Among them are ones that are refused, that come twice, and that follow each other in one group.
    """
    grouped, single = request.getfixturevalue(where)
    random = Random(seed)
    for number in range(_ROUNDS):
        size = random.randint(1, 7)
        fetched = set[int]()
        makes = [_some(random, grouped, 100.0 + number, fetched) for _ in range(size)]
        together = commit_group(grouped.db, [make(grouped) for make in makes])
        alone = [commit_group(single.db, [make(single)])[0] for make in makes]
        assert [_kind(one) for one in together] == [_kind(one) for one in alone]
        assert grouped.facts() == single.facts()
    assert_agrees(grouped.db)


@pytest.mark.parametrize("where", ["twins", "twins_in_files"])
def test_an_intent_of_a_new_day_counts_what_those_before_it_in_its_group_reserve(
    request: pytest.FixtureRequest, where: str
) -> None:
    """
    The day's line is opened in the middle of the group, with a cap of two.
    """
    grouped, _ = request.getfixturevalue(where)
    books = grouped.books
    books.caps = {"run": None, "day": Micros(2 * PRICE), "dataset": None}
    intents = [books.intent(1, day=DAY), *(books.intent(n, day="2026-01-02") for n in (2, 3, 4))]
    outcomes = commit_group(grouped.db, intents)
    kinds = [type(one.result) for one in outcomes]
    assert kinds == [Intent, Intent, Intent, OverBudget]
    assert_agrees(grouped.db)


def _kind(outcome: Any) -> object:
    result = outcome.result
    if isinstance(result, Intent):
        return result.attempt
    if isinstance(result, TransitionResult):
        return (result.state, result.job_state, result.passed, result.attempts, result.charged)
    return type(outcome.error), type(result)


def test_a_group_is_two_messages_to_the_server(twins: tuple[Twin, Twin]) -> None:
    """
    One begins, takes the turn and reads; one writes and commits. However many operations there are.
    """
    server, _ = twins
    db = server.db
    assert isinstance(db, CountingDatabase)

    def messages(operations: Sequence[Operation[Any]]) -> int:
        before = db.messages
        outcomes = commit_group(db, operations)
        assert [one.error for one in outcomes] == [None] * len(operations)
        return db.messages - before

    assert messages([server.books.intent(number) for number in range(1, 5)]) == 2
    bought = [row["seq"] for row in server.predictions()]
    accepted = [
        Transition(at(50), seq, E.ACCEPTED, Evidence(provider_id=provider_id(seq)))
        for seq in bought
    ]
    assert messages(accepted) == 2
    made = Evidence(urls=(URL, URL), cost=PRICE)
    ended = [
        *[Transition(at(51), seq, E.SUCCEEDED, made, KEEPING[2]) for seq in bought[:3]],
        Transition(at(51), bought[3], E.FAILED, Evidence(reason="words")),
    ]
    assert messages(ended) == 2
    outputs = [row["seq"] for row in server.outputs()]
    stored = [
        StoreOutput(at(52), seq, f"{seq}.png", "ab" * 32, 1, "image/png", 1, 1) for seq in outputs
    ]
    assert messages(stored[::2]) == 2
    assert_agrees(db)
