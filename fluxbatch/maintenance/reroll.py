"""The user's `reroll`: which rows are made anew, the jobs for that, and the run that makes them.

Owns the choice. A row whose newest image is chosen gets one new job; one that has a newer image
which is not chosen gets none, so that the same command again buys nothing twice. What an earlier
command left unbought serves where it is chosen again, and is withdrawn elsewhere: nothing is bought
but the choice. No image is removed.
Source: docs/guide/live-page.md "Making anew".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, zip_longest
from typing import Any

from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.model_card import describe
from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.dataset.ratings import ImageRating, with_rating
from fluxbatch.domain.job import JobId, JobState
from fluxbatch.domain.money import DollarsOrNone, Micros
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.session import DatasetRequest
from fluxbatch.errors import ConfigError
from fluxbatch.events import Events
from fluxbatch.export.columns import Sample, results_with_samples
from fluxbatch.export.coverage import Combination, Coverage, CoveredValues
from fluxbatch.export.filter import EVERYTHING, Filter
from fluxbatch.infra.runtime import SystemClock, in_thread
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.model_descriptions import observed_price
from fluxbatch.ledger.operations.rerolls import AddRerolls, RerollPick
from fluxbatch.ledger.queries.rerolled_jobs import reroll_manifest
from fluxbatch.ledger.queries.results import RowResult
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest
from fluxbatch.ledger.queries.totals import count_jobs
from fluxbatch.maintenance.retry import apply_alone
from fluxbatch.maintenance.saved_settings import saved_settings

_MOST = 100_000
"""Jobs that one command makes."""
_UNPAID = 1_000
"""Jobs beyond what the budget pays for."""


@dataclass(frozen=True, slots=True)
class RerollChoice:
    """What is to be made anew."""

    where: Filter = EVERYTHING
    """Rows of which an image fits; without *until* each gets one new job."""
    until: int | None = None
    """So many kept images of each combination; an image that nobody has judged may be one."""
    per: Combination | None = None
    """What makes a combination; with *until* alone."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for half a choice."""
        if (self.until is None) != (self.per is None):
            raise ConfigError("--until and --per go together, as in  --until 3 --per axes.style")
        if self.until is None and self.where is EVERYTHING:
            raise ConfigError(
                'say what is made anew: --where "rating=reject", or --until with --per'
            )


@dataclass(frozen=True, slots=True)
class RerollPlan:
    """What a reroll would do now."""

    model: str
    manifest_seq: int
    """Whose rows are picked."""
    picks: tuple[RerollPick, ...]
    waiting: int
    """How many of them an earlier command has left, unbought."""
    withdrawn: int
    """Rerolls of an earlier command that were not bought and are not chosen: they are not made."""
    at_work: int
    """Those that are bought and not here yet: they cost nothing more."""
    remade: int
    """Chosen rows that have a newer image, which is not chosen."""
    without_image: int
    """Chosen rows that have no image yet."""
    price: Micros | None
    """Of one; None where nobody knows it."""

    price_usd = DollarsOrNone("price")
    cost_usd = DollarsOrNone("cost")

    @property
    def to_buy(self) -> int:
        return len(self.picks)

    @property
    def cost(self) -> Micros | None:
        return Micros(self.price * self.to_buy) if self.price is not None else None


@dataclass(frozen=True, slots=True)
class Rerolled:
    """How a reroll ended."""

    plan: RerollPlan
    summary: RunSummary | None
    """None: there was nothing to do."""
    short: Mapping[CoveredValues, Coverage] = field(default_factory=dict)
    """The combinations that still have fewer than `until` images which may be kept."""


def reroll_settings(
    folder: Folder, budget: str | None, base_url: str, environ: Mapping[str, str]
) -> Settings:
    """Those of the latest run, but for its own cap; *budget* (dollars) is this run's.

    Raises `ConfigError` for a bad one.
    """
    flags: dict[str, Any] = {"provider": {"base_url": base_url}} if base_url else {}
    if budget:
        flags["budget"] = {"per_run": budget}
    return saved_settings(folder, flags, environ, run_cap=False)


def plan_reroll(request: DatasetRequest, choice: RerollChoice) -> RerollPlan:
    """What *choice* picks now, and for how much; changes nothing. Blocks for disk reads.

    Raises `ConfigError` for a dataset that never ran, and for a model without seeds.
    """
    folder = request.folder
    ratings = ratings_of(folder)
    with folder.reader() as db:
        manifest = latest_manifest(db)
        if manifest is None:
            raise ConfigError(f"{folder.address!r} has no rows yet: nothing was ever run")
        rows = _Families(choice, ratings)
        for row, samples in results_with_samples(db, manifest.seq):
            rows.add(row, samples)
        if choice.per is not None:
            choice.per.refuse_unknown(rows.coverage())
        waiting, at_work = _unfinished(db, manifest.model)
        highest_cost = observed_price(db, manifest.model)
    card = describe(request.settings, folder, next(iter(request.keys), None)).card
    if card.slug != manifest.model:
        raise ConfigError(
            f"the latest run used {card.slug!r}, and the rows are for {manifest.model!r}; run the"
            " manifest once more"
        )
    if not card.takes_derived_seed:
        raise ConfigError(
            f"model {card.slug!r} takes no seed, so a reroll would ask for the same once more;"
            " change the rows in the manifest instead"
        )
    price = _reserved(card.price, highest_cost)
    picks = tuple(islice(rows.picks(), _most(request.settings.budget.per_run, price)))
    if len(picks) > _MOST:
        raise ConfigError(
            f"more than {_MOST:,} jobs are to be made anew at once: give --budget USD, or choose"
            " fewer (--where, a smaller --until)"
        )
    return RerollPlan(
        model=manifest.model,
        manifest_seq=manifest.seq,
        picks=picks,
        waiting=rows.reused(),
        withdrawn=max(0, waiting - rows.reused()),
        at_work=at_work,
        remade=rows.remade,
        without_image=rows.without_image,
        price=price,
    )


def _most(cap: Micros | None, price: Micros | None) -> int:
    """How many jobs are looked for: a few more than a run's cap pays for, so that it is told what
    is left; without a cap, one more than may be made."""
    return _MOST + 1 if cap is None or not price else min(cap // price + _UNPAID, _MOST)


def _reserved(price: Micros | None, highest_cost: Micros | None) -> Micros | None:
    """What a run sets aside for each: what it says first must be no less."""
    return max((one for one in (price, highest_cost) if one is not None), default=None)


def add_rerolls(request: DatasetRequest, plan: RerollPlan) -> RunRequest | None:
    """Make the picks pending jobs, durably, and answer the run that makes them; None where there
    is nothing to make. Raises `HeldElsewhere` while a run is at work."""
    folder, manifest_seq = request.folder, None
    if plan.picks or plan.withdrawn:
        add = AddRerolls(SystemClock().now(), plan.model, plan.manifest_seq, plan.picks)
        manifest_seq = apply_alone(folder, add).manifest_seq
    elif plan.at_work:
        with folder.reader() as db:
            manifest_seq = reroll_manifest(db, plan.model)
    if manifest_seq is None or not (plan.picks or plan.at_work):
        return None
    return RunRequest(
        request.settings, request.keys, folder, manifest=None, manifest_seq=manifest_seq
    )


async def reroll_dataset(request: DatasetRequest, choice: RerollChoice, events: Events) -> Rerolled:
    """Plan, add and make. Raises as the two, and as `execute_run`."""
    plan = await in_thread(partial(plan_reroll, request, choice))
    run = await in_thread(partial(add_rerolls, request, plan))
    summary = await execute_run(run, events) if run is not None else None
    short = await in_thread(partial(still_short, request, choice))
    return Rerolled(plan, summary, short)


def still_short(request: DatasetRequest, choice: RerollChoice) -> dict[CoveredValues, Coverage]:
    """The combinations that a choice with *until* has not reached; empty without it."""
    if choice.per is None or choice.until is None:
        return {}
    rows = _Families(choice, ratings_of(request.folder))
    with request.folder.reader() as db:
        manifest = latest_manifest(db)
        for row, samples in results_with_samples(db, manifest.seq) if manifest is not None else ():
            rows.add(row, samples)
    # What waits for the next budget is not there yet.
    return {
        values: one
        for values, one in rows.coverage(with_pending=True).items()
        if one.kept + one.unjudged < choice.until
    }


def _unfinished(db: Database, model: str) -> tuple[int, int]:
    """Rerolls not bought yet, and those bought without an end."""
    seq = reroll_manifest(db, model)
    if seq is None:
        return 0, 0
    jobs = count_jobs(db, seq)
    waiting = jobs.of(JobState.PENDING)
    return waiting, jobs.of(JobState.ACTIVE) + jobs.of(JobState.GENERATED)


def _fits(samples: Sequence[Sample], where: Filter, ratings: Mapping[str, ImageRating]) -> bool:
    return any(where.matches(with_rating(sample.record, ratings)) for sample in samples)


@dataclass(slots=True)
class _Family:
    """A row's own job and its rerolls, as far as a choice needs them."""

    job_id: JobId
    row_number: int
    images: int
    """That one of them gives."""
    combination: CoveredValues
    coverage: Coverage
    was_chosen: bool = False
    """Whether one of them fits; and whether the newest that is done does."""
    is_chosen: bool = False
    newest_done: int = -1
    """Its number as a reroll, 0 for the row's own job; below that, none is."""
    has_unfinished: bool = False
    rerolls: int = 0
    pending: int = 0
    """Rerolls that nobody has bought."""
    picked: int = 0


class _Families:
    """The families of a manifest's jobs, filled row by row: first their own jobs, then rerolls."""

    def __init__(self, choice: RerollChoice, ratings: Mapping[str, ImageRating]) -> None:
        self._choice = choice
        self._ratings = ratings
        self._families: dict[JobId, _Family] = {}
        self.remade = 0
        self.without_image = 0

    def add(self, row: RowResult, samples: Sequence[Sample]) -> None:
        if row.job_id is None:
            return
        origin, choice = row.reroll_of or row.job_id, self._choice
        fits = _fits(samples, choice.where, self._ratings)
        family = self._families.get(origin)
        if family is None:
            if not fits and not row.reroll and choice.until is None:
                return  # by the million: what is not chosen is not kept
            values = choice.per.of(samples[0].record) if choice.per is not None else ()
            family = _Family(origin, row.number, row.outputs_wanted, values, Coverage())
            self._families[origin] = family
        family.rerolls = max(family.rerolls, row.reroll)
        if row.reroll and row.state is JobState.PENDING:
            family.pending += 1
            return  # it is there only if it is picked
        family.was_chosen |= fits
        if row.state is JobState.DONE and row.reroll >= family.newest_done:
            family.is_chosen, family.newest_done = fits, row.reroll
        family.has_unfinished |= row.state not in (JobState.DONE, JobState.FAILED)
        family.coverage.count(row, self._ratings)

    def coverage(self, *, with_pending: bool = False) -> dict[CoveredValues, Coverage]:
        """Of each combination, all of its chosen families together."""
        found: dict[CoveredValues, Coverage] = {}
        for family in self._chosen():
            covered = found.setdefault(family.combination, Coverage())
            covered.add(family.coverage)
            covered.to_come += family.pending * family.images if with_pending else 0
        return found

    def reused(self) -> int:
        """How many picks are served by rerolls that an earlier command left unbought."""
        return sum(min(one.picked, one.pending) for one in self._families.values())

    def picks(self) -> Iterator[RerollPick]:
        if self._choice.until is not None:
            yield from self._until(self._choice.until)
            return
        for family in self._chosen():
            if family.newest_done < 0:
                self.without_image += 1
            elif family.is_chosen and not family.has_unfinished:
                family.picked += 1
                yield RerollPick(family.job_id, family.row_number, family.rerolls)
            else:
                self.remade += 1

    def _chosen(self) -> Iterator[_Family]:
        return (family for family in self._families.values() if family.was_chosen)

    def _until(self, wanted: int) -> Iterator[RerollPick]:
        """One of each combination in turn, so that a small budget serves them all."""
        groups: dict[CoveredValues, list[_Family]] = {}
        for family in self._chosen():
            groups.setdefault(family.combination, []).append(family)
        turns = []
        for values, covered in self.coverage().items():
            ready = [one for one in groups[values] if one.newest_done >= 0]
            missing = wanted - covered.at_most
            if missing > 0 and not ready:
                self.without_image += len(groups[values])
            elif missing > 0:
                turns.append(_in_turn(ready, missing))
        yield from (pick for pick in chain.from_iterable(zip_longest(*turns)) if pick is not None)


def _in_turn(families: Sequence[_Family], missing: int) -> Iterator[RerollPick]:
    """Picks that give *missing* images and not a job more; the least rerolled row first."""
    while missing > 0:
        family = min(families, key=lambda one: (one.rerolls, one.row_number))
        family.picked += 1
        yield RerollPick(family.job_id, family.row_number, family.rerolls)
        family.rerolls += 1
        missing -= max(family.images, 1)
