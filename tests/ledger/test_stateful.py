"""Random lives of a ledger beside a small model of it: whatever happens, money and states agree.

The model knows predictions by their money and jobs by their state, and was written from
docs/design/protocol.md, not from the code. PostgreSQL plays the same machine for fewer rounds.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.money import SCOPES, Caps, Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode, IllegalTransition
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.intents import Intent, NotPending, OverBudget
from fluxbatch.ledger.operations.retry import RefuseJob, Retry
from tests.ledger.support import URL, Books, all_rows, assert_agrees, provider_id

_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of commits, none to keep
E = PredictionEvent
JOBS = 2
DAYS = ("2026-01-01", "2026-01-02")
CODES = (ExitCode.DONE, ExitCode.STOPPED, ExitCode.ERROR, ExitCode.INTERRUPTED)
LIVE = {"submitting", "unknown", "running"}
BOUGHT_BADLY = {"errored", "cancelled", "timed_out", "lost"}
NEVER_BOUGHT = {"unsent", "refused", "absent"}
ENDS = {
    E.NOT_SENT: "unsent", E.OVER_LIMIT: "refused", E.REJECTED: "refused", E.ABSENT: "absent",
    E.UNPAID: "refused", E.KEY_REFUSED: "refused", E.ENDPOINT_WRONG: "refused",
    E.SUCCEEDED: "succeeded", E.SUCCEEDED_EMPTY: "errored", E.FAILED: "errored",
    E.CANCELLED: "cancelled", E.GONE: "lost", E.OVERDUE: "timed_out",
}  # fmt: skip
MAY_FOLLOW: dict[str, set[PredictionEvent]] = {
    "submitting": {
        E.NOT_SENT, E.OVER_LIMIT, E.UNPAID, E.KEY_REFUSED, E.REJECTED, E.ENDPOINT_WRONG,
        E.ACCEPTED, E.NO_ANSWER, E.FOUND,
    },
    "unknown": {E.FOUND, E.ACCEPTED, E.ABSENT, E.GIVEN_UP},
    "running": {
        E.NOT_FINISHED, E.SUCCEEDED, E.SUCCEEDED_EMPTY, E.FAILED, E.CANCELLED, E.GONE, E.OVERDUE,
    },
    "succeeded": {E.COST_LEARNED},
    **{state: {E.SUCCEEDED, E.COST_LEARNED} for state in BOUGHT_BADLY},
    **{state: {E.FOUND, E.ACCEPTED} for state in NEVER_BOUGHT},
}  # fmt: skip


@dataclass
class Bought:
    """One prediction in the model."""

    job: int
    run: str
    day: str
    price: int
    state: str = "submitting"
    cost: int | None = None
    estimated: bool = False
    outputs: dict[int, str] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """What it takes of a cap."""
        return self.price if self.state in LIVE else self.cost or 0


PRICES = [Micros(amount) for amount in (25_000, 25_000, 25_000, 0, 10**10)]
COSTS = [None, *(Micros(amount) for amount in (0, 7, 25_000, 30_000))]
CAPS = [None, None, None, None, Micros(50_000), Micros(300_000)]
FAILURES = [None, FailureClass.TIMEOUT, FailureClass.FILTERED]


class LedgerLife(RuleBasedStateMachine):
    """What may happen to two jobs over some runs."""

    opener: ClassVar[Callable[[Path], Database]]
    writers: ClassVar[int] = 1
    """Connections that take turns, as processes that share a ledger do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fb-life-", dir=_MEMORY))
        self.connections = [type(self).opener(self.folder) for _ in range(self.writers)]
        self.books = Books.opened(self.connections[0], jobs=JOBS)
        self.books.checked = False  # the invariant below does it once a step
        self.bought: dict[int, Bought] = {}
        """By number: a server leaves out those of intents that were refused."""
        self.caps: Caps = {}
        self.runs = itertools.count(2)
        self.random = Random(0)

    @initialize(seed=st.integers(0, 2**32 - 1))
    def set_caps(self, seed: int) -> None:
        self.random = Random(seed)
        self.caps = {scope: self.random.choice(CAPS) for scope in SCOPES}
        self.books.open_run("run-1", caps=self.caps)

    @rule(number=st.integers(0, 2**32 - 1))
    def go_on(self, number: int) -> None:
        """Something happens; what, follows from the numbers so far.

        One rule, because hypothesis leaves out some of many and likes to repeat its choices: then
        two predictions of one job would hardly ever be alive together.
        """
        self.random.seed(f"{self.random.random()} {number}")
        self.books.db = self.random.choice(self.connections)
        steps = [self._happen_to_one, self._buy, self._find, self._fetch, self._chore, self._late]
        (chosen,) = self.random.choices(steps, [8, 5, 2, 3, 2, 2])
        chosen()

    def _buy(self) -> None:
        choose = self.random.choice
        self._intend(choose([1, 2]), choose(PRICES), choose(DAYS))

    def _happen_to_one(self) -> None:
        if self.bought:
            seq = self.random.choice([max(self.bought), *self.bought])
            event = self.random.choice(sorted(MAY_FOLLOW[self.bought[seq].state]))
            self._happen(seq, event, self.random.choice(COSTS), self.random.choice(FAILURES))

    def _find(self) -> None:
        """What nobody believed in is alive: perhaps the second one of its job."""
        gone = [seq for seq, b in self.bought.items() if b.state in NEVER_BOUGHT]
        if gone:
            self._happen(self.random.choice(gone), E.FOUND, None, None)

    def _fetch(self) -> None:
        wanted = [
            (b, o)
            for b in self.bought.values()
            for o, state in b.outputs.items()
            if state == "wanted"
        ]
        if wanted:
            one, output_seq = self.random.choice(wanted)
            one.outputs[output_seq] = self.random.choice(["stored", "stored", "lost"])
            if one.outputs[output_seq] == "stored":
                self.books.store(output_seq)
            else:
                self.books.lose(output_seq)

    def _chore(self) -> None:
        """What the user does, or a worker at the edge."""
        what = self.random.choice(["invoke", "refuse", "retry", "retry all"])
        if what == "invoke":
            self._invoke_again(self.random.choice(CODES), self.random.choice(CAPS))
        elif what == "refuse":
            self.books.do(RefuseJob(self.books.now(), 1, "no image"))
        else:
            self._retry(list(FailureClass) if what == "retry all" else [])

    def _invoke_again(self, code: ExitCode, run: Micros | None) -> None:
        ends = code in (ExitCode.DONE, ExitCode.STOPPED)
        before = self.books.run.run_id
        self.books.end_run(code)
        self.caps = {**self.caps, "run": run}
        opened = self.books.open_run(f"run-{next(self.runs)}", caps=self.caps)
        assert opened.continued != ends
        assert (opened.run_id == before) != ends
        assert opened.highest_cost == max((b.cost or 0 for b in self.bought.values()), default=0)

    def _intend(self, job: int, price: Micros, day: str) -> None:
        state = self.books.job(job)["state"]
        run = self.books.run.run_id
        answer = self.books.try_buy(job, price=price, day=day)
        if state != "pending":
            assert isinstance(answer, NotPending)
            return
        ours: dict[str, Callable[[Bought], bool]] = {
            "run": lambda b: b.run == run,
            "day": lambda b: b.day == day,
            "dataset": lambda _: True,
        }
        over = [
            scope
            for scope, cap in self.caps.items()
            if cap is not None
            and sum(b.counted for b in self.bought.values() if ours[scope](b)) + price > cap
        ]
        if over:
            assert isinstance(answer, OverBudget)
            assert answer.balance.scope in over
            return
        assert isinstance(answer, Intent)
        others = [b.state for b in self.bought.values() if b.job == job]
        assert not LIVE.intersection(others), "bought twice"
        self.bought[answer.prediction_seq] = Bought(job, run, day, price)
        assert answer.attempt == len(others) + 1

    def _late(self) -> None:
        """Late, repeated or impossible: nothing changes."""
        event = self.random.choice(list(PredictionEvent))
        seqs = [n for n, b in self.bought.items() if event not in MAY_FOLLOW[b.state]]
        if seqs:
            before = self._all_that_counts()
            with suppress(IllegalTransition):
                move = self.books.move(self.random.choice(seqs), event, urls=(URL,), cost=Micros(3))
                assert move.passed
            assert self._all_that_counts() == before

    def _all_that_counts(self) -> list[object]:
        names = ("predictions", "jobs", "outputs", "budgets")
        return [all_rows(self.books.db, schema.metadata.tables[name]) for name in names]

    def _happen(
        self, seq: int, event: PredictionEvent, cost: Micros | None, failure: FailureClass | None
    ) -> None:
        one = self.bought[seq]
        if event is E.COST_LEARNED and cost is None:
            return
        named = event in (E.ACCEPTED, E.FOUND)
        urls = (URL,) * one.job if event is E.SUCCEEDED else ()
        moved = self.books.move(
            seq, event, cost=cost, failure=failure, reason="words", urls=urls,
            provider_id=provider_id(seq) if named else None,
        )  # fmt: skip
        assert not moved.passed
        if named:
            one.state, one.cost, one.estimated = "running", None, False
        elif event is E.NO_ANSWER:
            one.state = "unknown"
        elif event in ENDS:
            one.state = ENDS[event]
        if event is E.COST_LEARNED:
            one.cost, one.estimated = cost, False
        elif event in ENDS and one.state not in NEVER_BOUGHT:
            known = one.cost if cost is None and not one.estimated else cost
            paid = event in (E.SUCCEEDED, E.SUCCEEDED_EMPTY)
            one.cost, one.estimated = (
                (one.price if known is None else known),
                known is None and not paid,
            )
        for output in moved.outputs:
            one.outputs[output.output_seq] = "wanted"
        assert len(moved.outputs) == len(urls)
        assert moved.state == one.state

    def _retry(self, kinds: list[FailureClass]) -> None:
        before = {job["seq"]: job["state"] for job in all_rows(self.books.db, schema.jobs)}
        alive = {b.job for b in self.bought.values() if b.state in LIVE}
        answer = self.books.do(Retry(self.books.now(), kinds))
        after = {job["seq"]: job["state"] for job in all_rows(self.books.db, schema.jobs)}
        gone_back = {seq for seq in before if before[seq] != after[seq]}
        assert answer.jobs == len(gone_back)
        assert all(before[seq] == "failed" and after[seq] == "pending" for seq in gone_back)
        assert not gone_back & alive

    @invariant()
    def the_ledger_agrees_with_itself(self) -> None:
        assert_agrees(self.books.db)

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        rows = all_rows(self.books.db, schema.predictions)
        assert [(r["job_seq"], r["state"], r["reserved"]) for r in rows] == [
            (b.job, b.state, b.price if b.state in LIVE else 0) for b in self.bought.values()
        ]
        assert [(r["cost"], bool(r["estimated"])) for r in rows] == [
            (b.cost, b.estimated) for b in self.bought.values()
        ]
        outputs = {row["seq"]: row["state"] for row in all_rows(self.books.db, schema.outputs)}
        assert outputs == {seq: s for b in self.bought.values() for seq, s in b.outputs.items()}

    def teardown(self) -> None:
        for connection in self.connections:
            connection.close()
        shutil.rmtree(self.folder)


def play(
    opener: Callable[[Path], Database], examples: int, steps: int, *, writers: int = 1
) -> None:
    options = {"opener": staticmethod(opener), "writers": writers}
    machine = type("LedgerLife", (LedgerLife,), options)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("part", range(2))
def test_random_lives_in_sqlite(part: int) -> None:
    """
    Money, states, history and outputs agree after every step. In two parts, for two workers.
    """
    play(lambda folder: SqliteDatabase(folder / "ledger.sqlite"), examples=30, steps=100)


def test_random_lives_in_postgres(postgres_url: str) -> None:
    """
    The same machine, fewer rounds, and three writers in turn.
    """
    play(
        lambda folder: PostgresDatabase(postgres_url, folder.name, create=True),
        examples=4,
        steps=100,
        writers=3,
    )
