"""The time and the binding limit of a plan, estimated from what the dataset has seen."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from fluxbatch.config.settings import Limits
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries import runs_and_failures
from fluxbatch.models import ModelCard
from fluxbatch.worker.poll_schedule import kind_of

BindingLimit = Literal["slots", "window", "none"]
"""What a run waits for most; `none` where it waits for nothing but its own jobs."""


_OBSERVED = 200


_FEWEST_OBSERVED = 5


_OUTLIER = 3.0
"""Times the median."""


def wall_clock(
    jobs: int, limits: Limits, accounts: int, execution_s: float
) -> tuple[float, BindingLimit]:
    """Seconds for *jobs* under a strict greedy window and slots, and what they wait for.

    Jobs are spread evenly; in each window as many waves leave as the slots allow. *execution_s*
    is how long an execution holds its slot, which is more than the provider takes for it.
    """
    if not jobs:
        return 0.0, "none"
    before_last = -(-jobs // accounts) - 1
    by_slots = before_last // limits.concurrent * execution_s
    windows, rest = divmod(before_last, limits.creates)
    by_window = windows * limits.window + rest // limits.concurrent * execution_s
    if by_window > by_slots:
        return by_window + execution_s, "window"
    return by_slots + execution_s, "slots" if by_slots else "none"


def mean_observed_s(
    db: Database | None, card: ModelCard, kinds: Mapping[Hashable, int]
) -> float | None:
    """The mean over jobs of *kinds*; a kind that was never seen takes what all did."""
    holds = runs_and_failures.latest_holds(db, card.slug, _OBSERVED) if db is not None else []
    if len(holds) < _FEWEST_OBSERVED:
        return None
    seen: dict[Hashable, list[float]] = {}
    for given, seconds in holds:
        seen.setdefault(kind_of(given), []).append(seconds)
    usual = _usual_s([seconds for _, seconds in holds])
    means = {
        kind: _usual_s(times) for kind, times in seen.items() if len(times) >= _FEWEST_OBSERVED
    }
    jobs = sum(kinds.values())
    total = sum(count * means.get(kind, usual) for kind, count in kinds.items())
    return total / jobs if jobs else usual


def _usual_s(times: Sequence[float]) -> float:
    """The mean, for slots turn over by it; without those that a pause of the machine drew out."""
    most = _OUTLIER * statistics.median(times)
    return statistics.fmean(seconds for seconds in times if seconds <= most)
