"""The figures of each run for charts and tables: creates, money, times.

Owns the sums over one run's predictions, taken in one pass. The rate is what the limit counts:
the creates of the last window, at every moment. Money is micro-dollars, times are seconds since
the run's start.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fluxbatch.domain.job import PredictionState
from fluxbatch.domain.money import Micros, usd
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.timestamps import parse_utc
from fluxbatch.ledger.queries.history.run_changes import RunLine, changes_of_run
from fluxbatch.ledger.queries.report_gallery import ShownPrediction, ShownRun, shown_predictions
from fluxbatch.ledger.queries.runs_and_failures import latest_balances
from fluxbatch.ledger.queries.totals import Totals, totals_of_run

_MADE_NOTHING = ("unsent", "refused", "absent")
_POINTS = 240

TimePoint = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run."""

    run: ShownRun
    totals: Totals
    jobs: int
    """That it submitted something for."""
    seconds: float
    """From its start to the last thing that happened in it."""
    limit: int
    """Creates its accounts may make in a window, together."""
    window_s: float
    cap: Micros | None
    states: tuple[tuple[str, int], ...]
    rate: tuple[TimePoint, ...]
    spent: tuple[TimePoint, ...]
    changes: Sequence[RunLine]
    """What `fluxbatch ctl` changed while it was at work."""
    durations: Sequence[float]
    """Of successes, sorted; as the provider reports them, else from its answer to the end seen."""


@dataclass(slots=True)
class _Sums:
    """Of a million predictions, so as plain numbers: as Python's own they took 300 MB."""

    left: array[float] = field(default_factory=lambda: array("d"))
    paid_at: array[float] = field(default_factory=lambda: array("d"))
    paid: array[int] = field(default_factory=lambda: array("q"))
    took: array[float] = field(default_factory=lambda: array("d"))
    states: Counter[str] = field(default_factory=Counter)
    accounts: set[str] = field(default_factory=set)
    jobs: bytearray = field(default_factory=bytearray)
    """A one for each job that was met, by its number."""
    last: float = 0.0

    def meet(self, job_seq: int) -> None:
        if job_seq >= len(self.jobs):
            self.jobs.extend(bytes(job_seq + 1))
        self.jobs[job_seq] = 1


def run_figures(db: Database, run: ShownRun) -> RunFigures:
    """Read all predictions of *run*."""
    began = parse_utc(run.started_at).timestamp()
    sums = _Sums()
    for one in shown_predictions(db, run.seq):
        _add(sums, one, began)
    if run.ended_at is not None:
        sums.last = max(sums.last, parse_utc(run.ended_at).timestamp() - began)
    settings = json.loads(run.settings_json or "{}")
    limits = settings.get("limits", {})
    window_s = float(limits.get("window") or 60.0)
    cap = settings.get("budget", {}).get("per_run")
    sums.left = array("d", sorted(sums.left))
    return RunFigures(
        run=run,
        totals=totals_of_run(db, run.seq)[0],
        jobs=sum(sums.jobs),
        seconds=sums.last,
        limit=int(limits.get("creates") or 0) * max(len(sums.accounts), 1),
        window_s=window_s,
        cap=_changed_cap(db, run.run_id) or (None if cap is None else usd(cap)),
        states=tuple(sums.states.most_common()),
        rate=tuple(_rate(sums.left, sums.last, window_s)),
        changes=changes_of_run(db, run.run_id),
        spent=tuple(_spent(sums.paid_at, sums.paid, sums.last)),
        durations=array("d", sorted(sums.took)),
    )


def _changed_cap(db: Database, run_id: str) -> Micros | None:
    """As the books have it: `fluxbatch ctl` may have changed what the settings say."""
    return next((line.cap for line in latest_balances(db, run_id) if line.scope == "run"), None)


def _add(sums: _Sums, one: ShownPrediction, began: float) -> None:
    sums.states[one.state] += 1
    if one.state in _MADE_NOTHING:
        return
    sums.meet(one.job_seq)
    sums.accounts.add(one.account)
    left = parse_utc(one.left_at or one.intended_at).timestamp() - began
    sums.left.append(max(left, 0.0))
    ended = left
    if one.ended_at is not None:
        ended = parse_utc(one.ended_at).timestamp() - began
        if one.state == PredictionState.SUCCEEDED:
            sums.took.append(_took(one))
    if one.cost:
        sums.paid_at.append(max(ended, 0.0))
        sums.paid.append(one.cost)
    sums.last = max(sums.last, ended)


def _took(one: ShownPrediction) -> float:
    if one.run_time_us is not None:
        return one.run_time_us / 1_000_000
    assert one.ended_at is not None
    answered = parse_utc(one.answered_at or one.intended_at)
    return max((parse_utc(one.ended_at) - answered).total_seconds(), 0.0)


def _rate(left: Sequence[float], last: float, window_s: float) -> list[TimePoint]:
    """How many creates the window held, at so many moments that a line through them is true."""
    if not left:
        return []
    moments = {last * step / _POINTS for step in range(_POINTS + 1)}
    if len(left) <= _POINTS:
        moments.update(left)
    return [
        (at, float(bisect_right(left, at) - bisect_right(left, at - window_s)))
        for at in sorted(moments)
    ]


def _spent(paid_at: Sequence[float], paid: Sequence[int], last: float) -> list[TimePoint]:
    """What was spent by then; of many moments every so many."""
    points, total = [(0.0, 0.0)], 0
    every = max(len(paid) // _POINTS, 1)
    at = 0.0
    by_cost = sorted(range(len(paid)), key=paid.__getitem__)
    order = sorted(by_cost, key=paid_at.__getitem__)
    for number, place in enumerate(order, 1):
        at = paid_at[place]
        total += paid[place]
        if number % every == 0 or number == len(paid):
            points.append((at, float(total)))
    if paid:
        points.append((max(last, at), float(total)))
    return points
