"""The metrics of a dataset, as its ledger alone has them, for who scrapes `/metrics`.

Owns when the ledger is read: not at all where it has not changed since, and otherwise not again for
twenty times as long as reading took. What is read is counted from indexes, never from the wide
rows. Counters are the dataset's, of all its runs. Source: docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import anyio

from fluxbatch.dataset.run_standing import lane_standings
from fluxbatch.domain.money import Micros
from fluxbatch.engine.metrics.exposition import MetricFamily, exposition
from fluxbatch.engine.metrics.families import (
    EXIT_CODE,
    LAST_PROGRESS,
    build_family,
    creates_family,
    job_families,
    lane_families,
    money_families,
)
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import ledger_revision
from fluxbatch.ledger.queries.live_run import WatchedRun, last_progress, watched_run
from fluxbatch.ledger.queries.runs_and_failures import latest_balances, latest_manifest
from fluxbatch.ledger.queries.totals import NEVER_MADE, MoneyLine, count_jobs, money_lines
from fluxbatch.ledger.reader import LedgerReader

_SHARE = 20
_UNDECIDED = frozenset({"submitting", "unknown"})


class LiveMetrics:
    """The text that was made last, and a way to have a newer one."""

    def __init__(self, read: LedgerReader, dataset: str) -> None:
        self._read = read
        self._dataset = dataset
        self._making = anyio.Lock()
        self._text = ""
        self._revision: int | None = None
        self._rests_until_s = 0.0

    async def text(self) -> str:
        """In Prometheus' text format."""
        async with self._making:
            began_s = time.monotonic()
            if self._revision is None or began_s >= self._rests_until_s:
                revision = await self._read(ledger_revision)
                if revision != self._revision:
                    families = await self._read(partial(ledger_families, now=datetime.now(UTC)))
                    self._text = exposition(families, {"dataset": self._dataset})
                    self._revision = revision
                    ended_s = time.monotonic()
                    self._rests_until_s = ended_s + _SHARE * (ended_s - began_s)
            return self._text


def ledger_families(db: Database, now: datetime) -> list[MetricFamily]:
    """Everything that can be said at one moment; *now* is in UTC."""
    run = watched_run(db)
    return [build_family(), *(_of_dataset(db, run, now) if run is not None else ())]


def _of_dataset(db: Database, run: WatchedRun, now: datetime) -> Iterator[MetricFamily]:
    money = money_lines(db)
    yield creates_family(creates_by_outcome(money))
    if (at := last_progress(db)) is not None:
        yield LAST_PROGRESS.of(at.timestamp())
    if run.exit_code is not None:
        yield EXIT_CODE.of(run.exit_code)
    manifest = latest_manifest(db)
    if manifest is not None:
        yield from job_families(count_jobs(db, manifest.seq))
    yield from lane_families(lane_standings(db, run, now, waits=False))
    spent = Micros(sum(line.cost for line in money))
    yield from money_families(spent, latest_balances(db, run.run_id))


def creates_by_outcome(money: list[MoneyLine]) -> dict[str, int]:
    """What became of every create; one without a clear answer is in none, until it has one."""
    found = {"accepted": 0, **dict.fromkeys(NEVER_MADE, 0)}
    for line in money:
        if line.state not in _UNDECIDED:
            found[line.state if line.state in NEVER_MADE else "accepted"] += line.predictions
    return found
