"""Verbs for what happens to jobs, and what must hold of a ledger after each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import Table, select, text

from fluxbatch.domain.job import (
    LIVE,
    Job,
    JobState,
    OutputState,
    PredictionId,
    PredictionState,
    Row,
    job_id,
)
from fluxbatch.domain.money import Balance, Caps, Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ExitCode
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import Statement
from fluxbatch.ledger.operations import budgets
from fluxbatch.ledger.operations.intents import (
    Intend,
    Intent,
    KeyUse,
    LedgerLost,
    NotPending,
    OverBudget,
)
from fluxbatch.ledger.operations.manifest_import import (
    BeginImport,
    FinishImport,
    ImportRows,
    KnownManifest,
)
from fluxbatch.ledger.operations.outputs import LoseOutput, StoreOutput
from fluxbatch.ledger.operations.runs import EndRun, OpenedRun, OpenRun
from fluxbatch.ledger.operations.transitions import Evidence, Transition, TransitionResult
from fluxbatch.ledger.sharing.lanes import LaneLost, RunStopped
from fluxbatch.ledger.sharing.run_controls import RunControls
from fluxbatch.ledger.writer import Operation, R, commit

E = PredictionEvent
PRICE = Micros(25_000)
NO_CAPS: Caps = {"run": None, "day": None, "dataset": None}
DAY = "2026-01-01"
MODEL = "flux-depth-dev"
URL = "https://cdn.example.com/out.png"
BUYER = KeyUse("account-1", "f1f1f1f1", "first key")


def at(seconds: float = 0.0, boot: str = "boot-1") -> Timestamp:
    return Timestamp(
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds), boot, 500 + seconds
    )


def make_job(number: int, outputs: int = 1) -> Job:
    given: dict[str, Any] = {"prompt": f"a lighthouse, {number}", "num_outputs": outputs}
    return Job(job_id(MODEL, given), MODEL, given, outputs_wanted=outputs)


def make_row(number: int, job: Job | None, **more: Any) -> Row:
    return Row(number, number + 1, more.pop("user_id", f"row-{number}"), {}, job, **more)


def make_rows(count: int, outputs: int = 1) -> list[Row]:
    return [make_row(number, make_job(number, outputs)) for number in range(1, count + 1)]


def admit(lines: Sequence[Balance], price: Micros) -> Balance | None:
    """The rule of protocol 5, written once more."""
    over = [b for b in lines if b.cap is not None and b.committed + price > b.cap]
    return over[0] if over else None


def fetch(db: Database, sql: str, **params: object) -> list[tuple[Any, ...]]:
    return db.run(Statement(lambda _: text(sql)), params)


def all_rows(db: Database, table: Table) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    return [dict(zip(names, record, strict=True)) for record in db.run(_every_row(table))]


@cache  # compiled once: it is asked after every step
def _every_row(table: Table) -> Statement:
    return Statement(lambda _: select(table).order_by(*table.primary_key.columns))


@dataclass(slots=True)
class Books:
    """A ledger with a manifest and an open run; after every verb all of it must agree."""

    db: Database
    manifest_seq: int = 0
    run: OpenedRun = field(default_factory=lambda: OpenedRun(0, "", False, Micros(0), 0))
    caps: Caps = field(default_factory=lambda: dict(NO_CAPS))
    seconds: float = 0.0
    checked: bool = True

    @classmethod
    def opened(
        cls, db: Database, *, jobs: int = 1, outputs: int = 1, caps: Caps = NO_CAPS
    ) -> Books:
        books = cls(db, caps=caps)
        books.manifest_seq = books.import_rows("manifest-1", make_rows(jobs, outputs))
        books.run = books.open_run("run-1")
        return books

    def do(self, operation: Operation[R]) -> R:
        result = commit(self.db, operation)
        if self.checked:
            assert_agrees(self.db)
        return result

    def now(self) -> Timestamp:
        self.seconds += 1
        return at(self.seconds)

    # manifests and runs

    def begin_import(
        self, identity: str, *, anew: bool = False, shuffle: int | None = None
    ) -> KnownManifest:
        begin = BeginImport(self.now(), identity, "m.jsonl", 100, MODEL, "{}", anew, shuffle)
        return self.do(begin)

    def import_rows(
        self,
        identity: str,
        rows: Sequence[Row],
        *,
        anew: bool = False,
        shuffle: int | None = None,
    ) -> int:
        known = self.begin_import(identity, anew=anew, shuffle=shuffle)
        if not known.imported:
            invalid = sum(row.job is None for row in rows)
            self.do(ImportRows(self.now(), known.seq, rows, shuffle))
            self.do(FinishImport(self.now(), known.seq, len(rows), invalid))
        return known.seq

    def open_run(
        self, new_id: str, *, manifest_seq: int = 0, day: str = DAY, caps: Caps | None = None
    ) -> OpenedRun:
        if caps is not None:
            self.caps = caps
        manifest_seq = manifest_seq or self.manifest_seq
        self.run = self.do(
            OpenRun(self.now(), new_id, manifest_seq, MODEL, self.caps, day, "{}", "0.1", "host", 7)
        )
        return self.run

    def end_run(self, exit_code: ExitCode, reason: str = "") -> None:
        self.do(EndRun(self.now(), self.run.seq, exit_code, reason))

    # predictions and outputs

    def intent(self, job_seq: int, *, price: Micros = PRICE, day: str = DAY) -> Intend:
        return Intend(
            at=self.now(), run_seq=self.run.seq, run_id=self.run.run_id, job_seq=job_seq,
            key_use=BUYER, price=price, caps=self.caps, admit=admit, send_within_s=5.0,
            budget_day=day, seed=99, control_url=None,
        )  # fmt: skip

    def try_buy(
        self, job_seq: int, *, price: Micros = PRICE, day: str = DAY
    ) -> Intent | OverBudget | NotPending | LedgerLost | LaneLost | RunStopped | RunControls:
        return self.do(self.intent(job_seq, price=price, day=day))

    def buy(self, job_seq: int = 1, *, price: Micros = PRICE, day: str = DAY) -> int:
        answer = self.try_buy(job_seq, price=price, day=day)
        assert isinstance(answer, Intent), answer
        return answer.prediction_seq

    def move(
        self, prediction_seq: int, event: PredictionEvent, **evidence: Any
    ) -> TransitionResult:
        return self.do(Transition(self.now(), prediction_seq, event, Evidence(**evidence)))

    def run_one(self, job_seq: int = 1, *, price: Micros = PRICE) -> int:
        """Bought and accepted."""
        prediction = self.buy(job_seq, price=price)
        self.move(prediction, E.ACCEPTED, provider_id=provider_id(prediction))
        return prediction

    def generate(self, job_seq: int = 1, urls: Sequence[str] = (URL,)) -> TransitionResult:
        prediction = self.run_one(job_seq)
        return self.move(prediction, E.SUCCEEDED, urls=tuple(urls), cost=PRICE)

    def store(self, output_seq: int, **seen: Any) -> JobState:
        path = f"images/{output_seq}.png"
        return self.do(
            StoreOutput(self.now(), output_seq, path, "ab" * 32, 1234, "image/png", 64, 48, **seen)
        )

    def lose(self, output_seq: int, reason: str = "HTTP 403 eight times") -> JobState:
        return self.do(LoseOutput(self.now(), output_seq, reason))

    # what the ledger says

    def prediction(self, seq: int) -> dict[str, Any]:
        return next(row for row in all_rows(self.db, schema.predictions) if row["seq"] == seq)

    def job(self, seq: int = 1) -> dict[str, Any]:
        return next(row for row in all_rows(self.db, schema.jobs) if row["seq"] == seq)

    def output(self, seq: int) -> dict[str, Any]:
        return next(row for row in all_rows(self.db, schema.outputs) if row["seq"] == seq)

    def line(self, scope: str, key: str) -> tuple[int, int, int]:
        """Reserved, settled, estimated."""
        ((reserved, settled, estimated),) = fetch(
            self.db,
            "SELECT reserved, settled, estimated FROM budgets WHERE scope = :scope AND key = :key",
            scope=scope,
            key=key,
        )
        return reserved, settled, estimated

    @property
    def money(self) -> tuple[int, int, int]:
        """Of the whole dataset."""
        return self.line("dataset", "")


def provider_id(prediction_seq: int) -> PredictionId:
    return PredictionId(f"provider-{prediction_seq}")


def assert_agrees(db: Database) -> None:
    """Books, states and history tell one story."""
    budgets.audit(db)
    jobs, predictions = all_rows(db, schema.jobs), all_rows(db, schema.predictions)
    outputs = all_rows(db, schema.outputs)
    _assert_history_ends_here(db, jobs, predictions, outputs)
    for prediction in predictions:
        live = PredictionState(prediction["state"]) in LIVE
        assert prediction["reserved"] == (prediction["price"] if live else 0), prediction
        assert live == (prediction["ended_at"] is None), prediction
        assert prediction["state"] == "unknown" or not prediction["at_risk"], prediction
        named = [output for output in outputs if output["prediction_seq"] == prediction["seq"]]
        assert bool(named) == (prediction["state"] == "succeeded"), prediction
    for job in jobs:
        _assert_job_follows(
            job,
            [row for row in predictions if row["job_seq"] == job["seq"]],
            [row for row in outputs if row["job_seq"] == job["seq"]],
        )


def _assert_job_follows(
    job: dict[str, Any], predictions: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> None:
    """A job's state is derived from its predictions and outputs.

    Source: docs/design/protocol.md 2.
    """
    state = JobState(job["state"])
    alive = any(PredictionState(row["state"]) in LIVE for row in predictions)
    assert job["predictions"] == len(predictions)
    assert (job["failure"] is not None) == (state is JobState.FAILED), job
    assert (job["reason"] is not None) == (state is JobState.FAILED), job
    assert (job["ended_at"] is not None) == (state in (JobState.FAILED, JobState.DONE)), job
    if state is JobState.ACTIVE:
        assert alive, job
    if state is JobState.PENDING:
        assert not alive, job
    if state is JobState.GENERATED:
        assert any(row["state"] == OutputState.WANTED for row in outputs), job
    if state is JobState.DONE:
        ordered = sorted(outputs, key=lambda row: row["prediction_seq"])
        assert any(
            len(made) >= job["outputs_wanted"] and all(row["state"] == "stored" for row in made)
            for made in (list(g) for _, g in groupby(ordered, lambda row: row["prediction_seq"]))
        ), job


def _assert_history_ends_here(
    db: Database,
    jobs: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> None:
    """Replayed line by line, every subject's history ends at the state of its row."""
    told: dict[tuple[str, int], str | None] = {
        **{("job", row["seq"]): "pending" for row in jobs},
        **{("output", row["seq"]): "wanted" for row in outputs},
    }
    for line in all_rows(db, schema.history):
        subject = line["subject"], line["subject_seq"]
        assert line["was"] == told.get(subject), line
        told[subject] = line["became"]
    written = {("job", row["seq"]): row["state"] for row in jobs}
    written |= {("output", row["seq"]): row["state"] for row in outputs}
    written |= {("prediction", row["seq"]): row["state"] for row in predictions}
    for run in all_rows(db, schema.runs):
        written["run", run["seq"]] = "ended" if run["ended_at"] else "open"
    assert told == written
