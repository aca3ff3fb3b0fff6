"""The rules that never break, asked of one dataset's ledger after every commit.

Owns a reader's connection of its own and what it has seen so far. Writes nothing and
takes no word of the engine's: sums are summed anew, files are hashed anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text

from fluxbatch.domain.filenames import sidecar_path
from fluxbatch.domain.job import JobId, derived_seed
from fluxbatch.domain.provenance import read_facts
from fluxbatch.emulator.prediction import EmulatedPrediction
from fluxbatch.errors import LedgerError
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Statement
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations import budgets
from fluxbatch.sink.metadata import embedded_facts
from tests.simulation.provider import Order


class Violation(AssertionError):
    """A rule that never breaks was broken."""


def _sql(words: str) -> Statement:
    return Statement(lambda _: text(words))


_VERSION = _sql("PRAGMA data_version")
_JOBS = _sql(
    "SELECT j.seq, j.state, j.failure, j.reason, j.outputs_wanted,"
    " (SELECT count(*) FROM predictions p WHERE p.job_seq = j.seq"
    "  AND p.state IN ('submitting', 'unknown', 'running')),"
    " (SELECT count(*) FROM outputs o WHERE o.job_seq = j.seq AND o.state = 'wanted'),"
    " (SELECT count(*) FROM outputs o WHERE o.job_seq = j.seq AND o.state = 'stored')"
    " FROM jobs j"
)
_LATEST = _sql("SELECT coalesce(max(seq), 0) FROM predictions")
_OVER_CAP = _sql(
    "SELECT b.scope, b.key, b.cap, b.reserved + b.settled + b.estimated FROM budgets b"
    " JOIN predictions p ON p.seq = :seq JOIN runs r ON r.seq = p.run_seq"
    " WHERE (b.scope = 'run' AND b.key = r.id OR b.scope = 'day' AND b.key = p.budget_day"
    "  OR b.scope = 'dataset') AND b.cap < b.reserved + b.settled + b.estimated"
    # A cap may be lowered after the create, in the same group.
    " AND NOT (b.scope = 'run' AND (SELECT coalesce(max(h.seq), 0) FROM history h"
    "  WHERE h.event LIKE 'control: budget%') > (SELECT min(h.seq) FROM history h"
    "  WHERE h.subject = 'prediction' AND h.subject_seq = p.seq))"
)
_COMMITTED = _sql(
    "SELECT coalesce((SELECT reserved + settled + estimated FROM budgets WHERE scope = 'run'"
    " AND key = (SELECT id FROM runs ORDER BY seq DESC LIMIT 1)), 0)"
)
_CHANGES = _sql("SELECT count(*) FROM history WHERE event LIKE 'control: %'")
_MONEY_ASTRAY = _sql(
    "SELECT seq, state, reserved, cost FROM predictions WHERE"
    " (state IN ('submitting', 'unknown', 'running')) != (reserved > 0)"
    " OR (state IN ('succeeded', 'errored', 'cancelled', 'timed_out', 'lost'))"
    " != (cost IS NOT NULL)"
)
_MAY_LEAVE = _sql(
    "SELECT job_seq, send_by_boot_us FROM predictions"
    " WHERE state = 'submitting' AND boot_id = :boot_id"
)
_STORED = _sql(
    "SELECT o.seq, o.path, o.sha256, o.file_sha256, o.bytes, o.number, p.provider_id FROM outputs o"
    " JOIN predictions p ON p.seq = o.prediction_seq WHERE o.state = 'stored'"
)
_ORDERS = _sql("SELECT seq, id, input_json, reseed FROM jobs")
_INTENTS = _sql("SELECT job_seq, count(*) FROM predictions GROUP BY job_seq")
_PREDICTIONS = _sql(
    "SELECT seq, job_seq, provider_id, state, reserved, cost, estimated, at_risk, adopted, reason,"
    " left_at FROM predictions"
)
_HISTORY = _sql(
    "SELECT subject, subject_seq, was, became FROM history WHERE subject != 'run' ORDER BY seq"
)
_STATES = _sql(
    "SELECT 'job', seq, state FROM jobs UNION ALL SELECT 'prediction', seq, state FROM predictions"
    " UNION ALL SELECT 'output', seq, state FROM outputs"
)
_FIRST = {"job": "pending", "prediction": None, "output": "wanted"}


class Money(NamedTuple):
    """What a ledger says in all."""

    reserved: int
    settled: int
    estimated: int


class KnownPrediction(NamedTuple):
    """A prediction as the ledger has it."""

    seq: int
    job_seq: int
    provider_id: str | None
    state: str
    reserved: int
    cost: int | None
    estimated: int
    at_risk: int
    adopted: str | None
    reason: str | None
    left_at: str | None
    """None where a crash hides whether it left."""


class Auditor:
    """Looks at one ledger."""

    def __init__(self, root: Path, *, derived_seeds: bool, db: Database | None = None) -> None:
        """*root*: where the images are; *db*: a reader's connection, of a folder by itself."""
        self._root = root
        self._derived = derived_seeds
        self._db = db or SqliteDatabase(root / "ledger.sqlite", read_only=True)
        self._version: DbRow = ()
        self._latest = 0
        self._seen: dict[int, str] = {}
        self._orders: dict[int, Order] = {}
        self.checks_caps = True
        """Off where a cost may be above its reservation: then only creates must stop."""
        self.checks_twins = True
        """Off where the provider denies what it made, and a webhook tells of it all the same."""

    def close(self) -> None:
        self._db.close()

    def after_call(self) -> bool:
        """Check everything if something was committed; whether something was."""
        (version,) = self._db.run(_VERSION)
        if version == self._version:
            return False
        self._version = version
        self.check()
        return True

    def check(self) -> None:
        try:
            budgets.audit(self._db)
        except LedgerError as exc:
            raise Violation(str(exc)) from exc
        self._check_caps()
        self._check_jobs()
        self._check_new_files()

    def committed_to_run(self) -> int:
        """What counts against the latest run's cap, in micro-dollars."""
        return int(self._db.run(_COMMITTED)[0][0])

    def changes_told(self) -> int:
        """Changes of runs at work that somebody asked for."""
        return int(self._db.run(_CHANGES)[0][0])

    def _check_caps(self) -> None:
        ((latest,),) = self._db.run(_LATEST)
        if latest == self._latest:
            return
        self._latest = latest
        over = self._db.run(_OVER_CAP, {"seq": latest})
        if over and self.checks_caps:
            raise Violation(f"a create above a cap: {over}")

    def _check_jobs(self) -> None:
        for seq, state, failure, reason, asked, live, wanted, stored in self._db.run(_JOBS):
            is_odd = live > 1 or (state == "active") != (live == 1)
            wrong = (
                (is_odd and self.checks_twins and f"{live} predictions may be alive")
                or (state == "failed" and not (failure and reason) and "failed without a reason")
                or (state == "done" and (stored < asked or wanted) and "done without its outputs")
                or (state == "generated" and not wanted and "nothing is left to fetch")
            )
            if wrong:
                raise Violation(f"job {seq} is {state}, but: {wrong}")

        if astray := self._db.run(_MONEY_ASTRAY):
            raise Violation(f"money reserved or booked against the state: {astray}")

    def _check_new_files(self) -> None:
        for seq, path, sha256, embedded, size, number, provider_id in self._db.run(_STORED):
            if seq not in self._seen:
                self._check_file(path, sha256, embedded, size)
                self._seen[seq] = f"{provider_id}/{number}/{sha256}"

    def _check_file(self, path: str, sha256: str, embedded: str | None, size: int) -> None:
        try:
            content = (self._root / path).read_bytes()
        except FileNotFoundError:
            raise Violation(f"{path} is stored and not on the disk") from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != (embedded or sha256) or (embedded is None and len(content) != size):
            raise Violation(f"{path} is not what was stored")
        if embedded is not None:
            facts = read_facts(embedded_facts(content) or "")
            if facts is None or facts["sha256"] != sha256:
                raise Violation(f"{path} does not tell of itself")

    def _check_sidecar(self, path: str, sha256: str) -> None:
        """A power cut may tear it, but it never tells of another image."""
        facts = read_facts((self._root / path).read_bytes())
        if facts is not None and facts["sha256"] != sha256:
            raise Violation(f"{path} is not its image's")

    def pictures(self) -> list[tuple[str, int, str]]:
        """(provider id, output's number, sha256) of all that is stored."""
        parts = [mark.split("/") for mark in self._seen.values()]
        return [(provider_id, int(number), sha256) for provider_id, number, sha256 in parts]

    def check_files(self, *, after_recovery: bool) -> None:
        """Every stored output has its file; after a recovery no other file is there."""
        stored = self._db.run(_STORED)
        for _, path, sha256, embedded, size, _, _ in stored:
            self._check_file(path, sha256, embedded, size)
        there = {str(f.relative_to(self._root)) for f in _files(self._root / "images")}
        sidecars = {sidecar_path(path): sha256 for _, path, sha256, *_ in stored}
        for path in there & set(sidecars):
            self._check_sidecar(path, sidecars[path])
        strays = there - {path for _, path, *_ in stored} - set(sidecars)
        halves = [f.name for f in _files(self._root / "tmp")]
        if after_recovery and (strays or halves):
            raise Violation(f"files that no ledger knows: {sorted(strays)} {len(halves)} halves")

    def check_history(self) -> None:
        """Every row's state is where its own line of history ends, without a gap."""
        at: dict[tuple[str, int], str | None] = {}
        for subject, seq, was, became in self._db.run(_HISTORY):
            before = at.get((subject, seq), _FIRST[subject])
            if was != before:
                raise Violation(f"{subject} {seq} went from {was}, but it was {before}")
            at[subject, seq] = became
        for subject, seq, state in self._db.run(_STATES):
            last = at.get((subject, seq), _FIRST[subject])
            if state != last:
                raise Violation(f"{subject} {seq} is {state}, its history ends at {last}")

    def orders(self) -> dict[int, Order]:
        """What each job is asked for as."""
        if not self._orders or len(self._orders) != len(self._db.run(_ORDERS)):
            self._orders = {
                seq: self._order(json.loads(given), bytes(name), reseed)
                for seq, name, given, reseed in self._db.run(_ORDERS)
            }
        return self._orders

    def _order(self, given: dict[str, object], name: bytes, reseed: int) -> Order:
        seed = given.get("seed")
        if seed is None and self._derived:
            seed = derived_seed(JobId(name), reseed)
        return str(given["prompt"]), -1 if seed is None else int(str(seed))

    def intents(self, order: Order) -> int:
        """How many creates of *order* were written down before they left."""
        orders = self.orders()
        return sum(count for job, count in self._db.run(_INTENTS) if orders[job] == order)

    def may_leave(self, order: Order, now: Timestamp) -> bool:
        """Whether a create of *order* is written down whose time has not passed."""
        orders, now_us = self.orders(), int(now.boot_s * 1_000_000)
        return any(
            orders[job] == order and now_us <= send_by_us + 1
            for job, send_by_us in self._db.run(_MAY_LEAVE, {"boot_id": now.boot_id})
        )

    def predictions(self) -> list[KnownPrediction]:
        return [KnownPrediction(*record) for record in self._db.run(_PREDICTIONS)]

    def money(self) -> Money:
        rows = self.predictions()
        return Money(
            sum(row.reserved for row in rows),
            sum(row.cost or 0 for row in rows if not row.estimated),
            sum(row.cost or 0 for row in rows if row.estimated),
        )

    def states(self) -> list[tuple[int, str, str | None]]:
        """Every job with its state and its failure."""
        return [(seq, state, failure) for seq, state, failure, *_ in self._db.run(_JOBS)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def is_lost(prediction: EmulatedPrediction) -> bool:
    """Whether the provider itself denies it: nobody can know better."""
    return prediction.lost_from < float("inf")
