"""A plan: what a run would make, cost and take, before anything is spent.

Owns the estimate. One pass over the manifest, streamed; a dataset to compare with is only read, but
for the folder of control images that had to be fetched, and nobody else is contacted but for what a
model without a typed card takes.
Prices are the model card's: the provider's own figures come with the results.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from fluxbatch.catalog import describe
from fluxbatch.config import Limits, Settings
from fluxbatch.dataset import Folder
from fluxbatch.errors import BadRow
from fluxbatch.keys import ApiKey
from fluxbatch.ledger import listing
from fluxbatch.ledger.budgets import read_lines
from fluxbatch.ledger.database import Database
from fluxbatch.manifest import Manifest
from fluxbatch.manifest.spooling import name_of
from fluxbatch.models import ModelCard
from fluxbatch.money import SCOPES, ZERO, Micros, Scope, as_usd
from fluxbatch.tally import KnownHashes, PlannedJobs, PlannedRow, Tally
from fluxbatch.worker.timing import kind_of

BindingLimit = Literal["slots", "window", "none"]
"""What a run waits for most; `none` where it waits for nothing but its own jobs."""

ASSUMED_EXECUTION_S = 10.0
_OBSERVED = 200
_FEWEST_OBSERVED = 5
_OUTLIER = 3.0
"""Times the median."""
MOST_EXPANDED = 1_000_000
"""Jobs of a sweep or of templates beyond which a plan counts them and makes none."""
_LOOKED_AT = 1_000
_BAD_ROWS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """One cap against what the plan would cost."""

    scope: Scope
    cap: Micros
    committed: Micros
    """Counts against it already."""
    jobs: int
    """How many of the jobs to be bought it pays for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of this manifest would do now."""

    source: str
    """The manifest's path, or what stands for it."""
    model: str
    rows: int
    duplicates: int
    """Rows that name a job an earlier row names."""
    jobs: PlannedJobs
    images: int
    """That the jobs to be bought ask for."""
    price: Micros | None
    """Of one execution; None where nobody knows it."""
    cost: Micros | None
    seconds: float
    binding_limit: BindingLimit
    accounts: int
    """Whose limits the seconds assume."""
    execution_s: float
    """That an execution holds its slot, on average over the jobs to be bought."""
    is_observed: bool
    """`execution_s` is what this dataset has seen, not an assumption."""
    uploads: int
    upload_bytes: int
    budgets: tuple[BudgetCheck, ...]
    first_rows: tuple[PlannedRow, ...]
    bad_rows: tuple[BadRow, ...]
    """The first ones; `jobs.invalid` counts them all."""
    digest: str
    """Of every job in the rows' order: two plans with one digest name the same jobs."""
    control_notes: Mapping[str, tuple[str, ...]]
    """What a model may take otherwise than meant, by the path of a file seen for the first time."""
    seed_siblings: int
    """Of the jobs to be bought: single images that differ from another by the seed alone."""
    urls: Mapping[str, listing.RowName] = field(default_factory=dict, repr=False)
    """Control images by URL, where they were asked for, each with the first row that names it."""
    is_only_counted: bool = False
    """More jobs than `MOST_EXPANDED`: the first of them were looked at, nothing was compared."""

    def as_json(self) -> dict[str, object]:
        """The last line of `plan --json`. Source: design.md, command line."""
        jobs = self.jobs
        return {
            "jobs": {
                "total": jobs.total,
                "new": jobs.new,
                "done": jobs.done,
                "changed": jobs.changed,
                "invalid": jobs.invalid,
            },
            "cost_usd": as_usd(self.cost) if self.cost is not None else None,
            "seconds": round(self.seconds, 3),
            "binding_limit": self.binding_limit,
        }


def plan(
    settings: Settings,
    manifest: Path | None,
    folder: Folder | None = None,
    *,
    accounts: int = 1,
    key: ApiKey | None = None,
    bad_rows_kept: int = _BAD_ROWS_KEPT,
    with_urls: bool = False,
) -> Plan:
    """Count what *manifest* (None: the settings' own, or a sweep alone) would make.

    *folder* is the dataset to compare with; one that does not exist yet has nothing done. Raises
    `ConfigError` where no row can mend it. Blocks for disk reads; for a model without a typed
    card and a fresh description in *folder*, for one question to the provider as well (with *key*
    where it tells nobody else), and raises `ApiError` where that has no answer.
    """
    card = describe(settings, folder, key).card
    path = manifest or (Path(settings.manifest) if settings.manifest else None)
    with ExitStack() as stack:
        db = stack.enter_context(_past_of(folder))
        controls = stack.enter_context(_controls_of(folder))
        source = Manifest.named(path, settings, card, KnownHashes(db), controls)
        tally = Tally(settings, card, db, bad_rows_kept)
        if with_urls:
            tally.urls = {}
        counted = _passed(source, tally)
        name = name_of(path) if path is not None else "the sweep"
        return _foretold(
            tally, settings, card, db, name, source.identity, accounts=accounts, counted=counted
        )


def _passed(source: Manifest, tally: Tally) -> int | None:
    """Show *tally* every row and answer None; of too many the first, and answer their number."""
    counted = source.count().number if source.multiplies else 0
    is_too_many = counted > MOST_EXPANDED
    for row in islice(source.rows(tally.note_bad), _LOOKED_AT if is_too_many else None):
        tally.add(row)
    return counted if is_too_many else None


def _foretold(
    tally: Tally,
    settings: Settings,
    card: ModelCard,
    db: Database | None,
    name: str,
    identity: str,
    *,
    accounts: int,
    counted: int | None,
) -> Plan:
    """*counted* as `_passed` answers it; *name* and *identity* are the manifest's."""
    jobs = tally.jobs()
    if counted is not None:
        jobs = PlannedJobs(counted - jobs.invalid, 0, 0, 0, 0, jobs.invalid)
    observed_s = _observed_s(db, card, tally.kinds)
    execution_s = observed_s or ASSUMED_EXECUTION_S
    seconds, binding = wall_clock(jobs.to_buy, settings.limits, accounts, execution_s)
    return Plan(
        source=name,
        model=card.slug,
        rows=tally.rows if counted is None else counted,
        duplicates=tally.duplicates,
        jobs=jobs,
        images=tally.images if counted is None else jobs.to_buy,
        price=card.price,
        cost=Micros(card.price * jobs.to_buy) if card.price is not None else None,
        seconds=seconds,
        binding_limit=binding,
        accounts=accounts,
        execution_s=execution_s,
        is_observed=observed_s is not None,
        uploads=len(tally.uploads),
        upload_bytes=tally.upload_bytes,
        budgets=tuple(_checks(settings, db, card.price, identity, jobs.to_buy)),
        first_rows=tuple(tally.first_rows),
        bad_rows=tuple(tally.bad_rows),
        digest=tally.digest,
        control_notes=tally.control_notes,
        seed_siblings=tally.seed_siblings,
        urls=tally.urls or {},
        is_only_counted=counted is not None,
    )


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


@contextmanager
def _past_of(folder: Folder | None) -> Iterator[Database | None]:
    if folder is None or not folder.ledger.is_file():
        yield None
        return
    with folder.reader() as db:
        yield db


@contextmanager
def _controls_of(folder: Folder | None) -> Iterator[Path]:
    """Where fetched control images are kept: in the dataset, so that its run has them, if it is
    there and can be written, else only until the plan is made."""
    if folder is not None and folder.ledger.is_file() and os.access(folder.root, os.W_OK):
        yield folder.controls.absolute()
        return
    with TemporaryDirectory(prefix="fluxbatch-") as place:
        yield Path(place)


def _observed_s(
    db: Database | None, card: ModelCard, kinds: Mapping[Hashable, int]
) -> float | None:
    """The mean over jobs of *kinds*; a kind that was never seen takes what all did."""
    holds = listing.latest_holds(db, card.slug, _OBSERVED) if db is not None else []
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


def _checks(
    settings: Settings, db: Database | None, price: Micros | None, identity: str, to_buy: int
) -> Iterator[BudgetCheck]:
    budget = settings.budget
    caps = dict(zip(SCOPES, (budget.per_run, budget.per_day, budget.per_dataset), strict=True))
    committed: dict[Scope, Micros] = {}
    if db is not None:
        run_id = listing.unended_run(db, identity) or ""
        today = datetime.now(settings.zone).date().isoformat()
        committed = {line.scope: line.committed for line in read_lines(db, run_id, today)}
    for scope, cap in caps.items():
        if cap is not None:
            spent = committed.get(scope, ZERO)
            jobs = max(0, cap - spent) // price if price else 0
            yield BudgetCheck(scope, cap, spent, min(jobs, to_buy))
