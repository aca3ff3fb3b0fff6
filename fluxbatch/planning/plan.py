"""A plan: what a run would make, cost and take, before anything is spent.

Owns the estimate. One pass over the manifest, streamed; a dataset to compare with is only read, but
for the folder of control images that had to be fetched, and nobody else is contacted but for what a
model without a typed card takes.
Prices are the model card's: the provider's own figures come with the results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.imported_manifest import names_other_files
from fluxbatch.dataset.model_card import describe
from fluxbatch.domain.money import ZERO, DollarsOf, DollarsOrNone, Micros, Scope, as_usd
from fluxbatch.errors import BadRow
from fluxbatch.infra.atomic_file import passing_folder
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.ledger.queries import runs_and_failures
from fluxbatch.ledger.queries.imported_rows import imported_rows, imported_whole
from fluxbatch.manifest import Manifest
from fluxbatch.manifest.readers.remote_file import name_of
from fluxbatch.models import ModelCard
from fluxbatch.planning.estimate import BindingLimit, mean_observed_s, wall_clock
from fluxbatch.planning.job_counter import JobCounter, KnownHashes, PlannedJobs, PlannedRow

ASSUMED_EXECUTION_S = 10.0
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
    """How many of the jobs to be submitted it pays for."""

    cap_usd = DollarsOf("cap")
    committed_usd = DollarsOf("committed")


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
    """That the jobs to be submitted ask for."""
    price: Micros | None
    """Of one execution; None where nobody knows it."""
    cost: Micros | None
    seconds: float
    binding_limit: BindingLimit
    accounts: int
    """Whose limits the seconds assume."""
    execution_s: float
    """That an execution holds its slot, on average over the jobs to be submitted."""
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
    """Of the jobs to be submitted: single images that differ from another by the seed alone."""
    urls: Mapping[str, runs_and_failures.RowName] = field(default_factory=dict, repr=False)
    """Control images by URL, where they were asked for, each with the first row that names it."""
    split_notes: tuple[str, ...] = ()
    """Of rows whose `split` no export could have."""
    is_only_counted: bool = False
    """More jobs than `MOST_EXPANDED`: the first of them were looked at, nothing was compared."""
    html_view: Callable[[Plan], str] | None = field(default=None, repr=False, compare=False)
    """How a notebook shows it."""

    price_usd = DollarsOrNone("price")
    cost_usd = DollarsOrNone("cost")

    def _repr_html_(self) -> str | None:
        return self.html_view(self) if self.html_view is not None else None

    def as_json(self) -> dict[str, object]:
        """The last line of `plan --json`. Source: docs/design/decisions.md "Command line"."""
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
            "notes": list(self.split_notes),
        }


def make_plan(
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
    where it answers nobody else), and raises `ApiError` where that has no answer.
    """
    card = describe(settings, folder, key).card
    path = manifest or (Path(settings.manifest) if settings.manifest else None)
    with ExitStack() as stack:
        db = stack.enter_context(_past_of(folder))
        controls = stack.enter_context(_controls_of(folder))
        source = Manifest.named(path, settings, card, KnownHashes(db), controls)
        tally = JobCounter(settings, card, db, bad_rows_kept)
        if with_urls:
            tally.urls = {}
        is_told = db is not None and _told_by_ledger(db, source, controls, tally)
        counted = None if is_told else _passed(source, tally)
        name = name_of(path) if path is not None else "the sweep"
        return _foretold(
            tally, settings, card, db, name, source.identity, accounts=accounts, counted=counted
        )


def _told_by_ledger(db: Database, source: Manifest, controls: Path, tally: JobCounter) -> bool:
    """Show *tally* the rows as the dataset has them, if they are those *source* would give."""
    known = imported_whole(db, source.identity)
    latest = runs_and_failures.latest_manifest(db)
    if known is None or latest is None or latest.seq != known[0]:
        return False
    if names_other_files(db, *known, source.path, controls):
        return False
    for page in imported_rows(db, known[0]):
        tally.add_imported(db, page)
    return True


def _passed(source: Manifest, tally: JobCounter) -> int | None:
    """Show *tally* every row and answer None; of too many the first, and answer their number."""
    counted = source.count().number if source.multiplies else 0
    is_too_many = counted > MOST_EXPANDED
    for row in islice(source.rows(tally.note_bad), _LOOKED_AT if is_too_many else None):
        tally.add(row)
    return counted if is_too_many else None


def _foretold(
    tally: JobCounter,
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
    observed_s = mean_observed_s(db, card, tally.kinds)
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
        split_notes=tally.splits.lines(),
        urls=tally.urls or {},
        is_only_counted=counted is not None,
    )


@contextmanager
def _past_of(folder: Folder | None) -> Iterator[Database | None]:
    if folder is not None:
        folder.refuse_lost_ledger()
    if folder is None or not folder.has_ledger():
        yield None
        return
    with folder.reader() as db:
        yield db


@contextmanager
def _controls_of(folder: Folder | None) -> Iterator[Path]:
    """Where fetched control images are kept: in the dataset, so that its run has them, if it is
    there and can be written, else only until the plan is made."""
    if folder is not None and folder.has_ledger() and os.access(folder.root, os.W_OK):
        yield folder.controls.absolute()
        return
    with passing_folder() as place:
        yield place


def _checks(
    settings: Settings, db: Database | None, price: Micros | None, identity: str, to_buy: int
) -> Iterator[BudgetCheck]:
    committed: dict[Scope, Micros] = {}
    if db is not None:
        run_id = runs_and_failures.unended_run(db, identity) or ""
        today = datetime.now(settings.zone).date().isoformat()
        committed = {line.scope: line.committed for line in read_lines(db, run_id, today)}
    for scope, cap in settings.budget.caps.items():
        if cap is not None:
            spent = committed.get(scope, ZERO)
            jobs = max(0, cap - spent) // price if price else 0
            yield BudgetCheck(scope, cap, spent, min(jobs, to_buy))
