"""A plan: what a run would make, cost and take, before anything is spent.

Owns the estimate. One pass over the manifest, streamed; it writes nothing, a dataset to compare
with is only read, and nobody is contacted but for what a model without a typed card takes.
Prices are the model card's: the provider's own figures come with the results.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fluxbatch.catalog import describe
from fluxbatch.config import Limits, Settings, is_loopback
from fluxbatch.dataset import Folder
from fluxbatch.errors import BadRow
from fluxbatch.job import ControlFile, Input, JobId, JobState, Row, as_sent, derived_seed
from fluxbatch.keys import ApiKey
from fluxbatch.ledger import listing, results
from fluxbatch.ledger.budgets import read_lines
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.uploads import find_file, find_upload
from fluxbatch.manifest import FileHash, FileStamp, Manifest, MemoryFileHashes, SeenHashes
from fluxbatch.models import ModelCard
from fluxbatch.money import SCOPES, ZERO, Micros, Scope, as_usd

BindingLimit = Literal["slots", "window", "none"]
"""What a run waits for most; `none` where it waits for nothing but its own jobs."""

ASSUMED_EXECUTION_S = 10.0
_OBSERVED = 200
_FEWEST_OBSERVED = 5
_FIRST_ROWS = 3
_BAD_ROWS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class PlannedJobs:
    """A manifest's jobs, each counted once; together they are the total."""

    new: int
    """To be bought: not in the dataset, or still waiting there."""
    changed: int
    """To be bought: their row named another job when the dataset last saw it."""
    done: int
    begun: int
    """Bought already, not on disk yet; the run takes them up for nothing."""
    failed: int
    """In the dataset; left alone until `retry`."""
    invalid: int
    """Rows that cannot become jobs."""

    @property
    def to_buy(self) -> int:
        return self.new + self.changed

    @property
    def total(self) -> int:
        return self.new + self.changed + self.done + self.begun + self.failed + self.invalid


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
class PlannedRow:
    """A row as it would be sent; a local file's URL is not known yet."""

    name: listing.RowName
    input: Input


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
    is_observed: bool
    """`execution_s` is this dataset's own median, not an assumption."""
    uploads: int
    upload_bytes: int
    budgets: tuple[BudgetCheck, ...]
    first_rows: tuple[PlannedRow, ...]
    bad_rows: tuple[BadRow, ...]
    """The first ones; `jobs.invalid` counts them all."""

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
        source = _open(path, settings, card, db)
        tally = _Tally(settings, card, db, bad_rows_kept)
        for row in source.rows(tally.note_bad):
            tally.add(row)
        execution_s = _observed_s(db)
        jobs = tally.jobs()
        seconds, binding = wall_clock(
            jobs.to_buy, settings.limits, accounts, execution_s or ASSUMED_EXECUTION_S
        )
        return Plan(
            source=str(path) if path is not None else "the sweep",
            model=card.slug,
            rows=tally.rows,
            duplicates=tally.duplicates,
            jobs=jobs,
            images=tally.images,
            price=card.price,
            cost=Micros(card.price * jobs.to_buy) if card.price is not None else None,
            seconds=seconds,
            binding_limit=binding,
            accounts=accounts,
            execution_s=execution_s or ASSUMED_EXECUTION_S,
            is_observed=execution_s is not None,
            uploads=len(tally.uploads),
            upload_bytes=tally.upload_bytes,
            budgets=tuple(_checks(settings, db, card.price, source.identity, jobs.to_buy)),
            first_rows=tuple(tally.first_rows),
            bad_rows=tuple(tally.bad_rows),
        )


def _open(path: Path | None, settings: Settings, card: ModelCard, db: Database | None) -> Manifest:
    return Manifest.open(
        path,
        card=card,
        defaults=settings.defaults,
        sweep=settings.sweep,
        allow_http=is_loopback(settings.provider.base_url),
        hashes=_KnownHashes(db),
    )


def wall_clock(
    jobs: int, limits: Limits, accounts: int, execution_s: float
) -> tuple[float, BindingLimit]:
    """Seconds for *jobs* under a strict greedy window and slots, and what they wait for.

    Jobs are spread evenly; in each window as many waves leave as the slots allow.
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


class _Tally:
    """Counts rows as they pass; memory grows by a few bytes a job."""

    def __init__(
        self, settings: Settings, card: ModelCard, db: Database | None, bad_rows_kept: int
    ) -> None:
        self._card = card
        self._derives_seed = settings.inputs.seed == "derived"
        self._db = db
        self._past = _Past(db)
        self._seen = SeenHashes()
        self._bad_rows_kept = bad_rows_kept
        self._counts: dict[str, int] = {}
        self._now = datetime.now(UTC)
        self.rows = 0
        self.duplicates = 0
        self.images = 0
        self.uploads = SeenHashes()
        self.upload_bytes = 0
        self.first_rows: list[PlannedRow] = []
        self.bad_rows: list[BadRow] = []

    def note_bad(self, bad: BadRow) -> None:
        if len(self.bad_rows) < self._bad_rows_kept:
            self.bad_rows.append(bad)

    def add(self, row: Row) -> None:
        self.rows += 1
        if row.job is None:
            self._count("invalid")
            return
        is_changed = self._past.is_changed(row, row.job.job_id)
        if self._seen.first(row.job.job_id):
            self.duplicates += 1
            return
        state = results.job_state(self._db, row.job.job_id) if self._db is not None else None
        match state:
            case None | JobState.PENDING:
                self._count("changed" if is_changed and state is None else "new")
                self._add_to_buy(row)
            case JobState.DONE | JobState.FAILED:
                self._count(state.value)
            case _:
                self._count("begun")

    def jobs(self) -> PlannedJobs:
        names = ("new", "changed", "done", "begun", "failed", "invalid")
        return PlannedJobs(**{name: self._counts.get(name, 0) for name in names})

    def _count(self, kind: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def _add_to_buy(self, row: Row) -> None:
        assert row.job is not None
        self.images += row.job.outputs_wanted
        if row.control is not None and self._needs_upload(row.control):
            self.upload_bytes += row.control.bytes
        if len(self.first_rows) < _FIRST_ROWS:
            name = listing.RowName(row.number, row.line, row.user_id)
            self.first_rows.append(PlannedRow(name, self._as_sent(row)))

    def _needs_upload(self, control: ControlFile) -> bool:
        known = find_upload(self._db, control.sha256) if self._db is not None else None
        if known is not None and (known.expires_at or datetime.max.replace(tzinfo=UTC)) > self._now:
            return False
        return not self.uploads.first(control.sha256)

    def _as_sent(self, row: Row) -> Input:
        assert row.job is not None
        seed = None
        takes_seed = self._derives_seed and self._card.takes_derived_seed
        if takes_seed and "seed" not in row.job.input:
            seed = derived_seed(row.job.job_id)
        url = f"upload:sha256:{row.control.sha256}" if row.control is not None else None
        return as_sent(row.job.input, self._card.file_inputs, url, seed)


class _Past:
    """Which jobs the dataset's latest manifest named, row by row, as hashes."""

    def __init__(self, db: Database | None) -> None:
        self._jobs: SeenHashes | None = None
        self._keys = _RowKeys()
        latest = listing.latest_manifest(db) if db is not None else None
        if db is None or latest is None:
            return
        self._jobs, keys = SeenHashes(), _RowKeys()
        for named in results.named_jobs(db, latest.seq):
            key = keys.of(named.user_id, named.line, named.axes_json)
            self._jobs.first(key, _mark(named.job_id))

    def is_changed(self, row: Row, job: JobId) -> bool:
        if self._jobs is None:
            return False
        axes = json.dumps(row.axes, ensure_ascii=False) if row.axes else None
        mark = _mark(job)
        return self._jobs.first(self._keys.of(row.user_id, row.line, axes), mark) not in (0, mark)


class _RowKeys:
    """What makes a row the same row in two manifests: its id, else its line; then its cell."""

    def __init__(self) -> None:
        self._last = ""
        self._ordinal = 0

    def of(self, user_id: str | None, line: int, axes_json: str | None) -> str:
        key = f"{user_id!r} {axes_json}" if user_id is not None else f"{line} {axes_json}"
        self._ordinal = self._ordinal + 1 if key == self._last else 0
        self._last = key
        return f"{key} {self._ordinal}"


def _mark(job: JobId) -> int:
    return int.from_bytes(job[:4], "big") % (2**32 - 1) + 1


@dataclass(slots=True)
class _KnownHashes:
    """File hashes the ledger has kept, and those of this pass."""

    db: Database | None
    new: MemoryFileHashes = field(default_factory=MemoryFileHashes)

    def get(self, stamp: FileStamp, /) -> FileHash | None:
        kept = find_file(self.db, stamp.path) if self.db is not None else None
        if kept is None or (kept.size, kept.mtime_ns, kept.inode) != stamp[1:]:
            return self.new.get(stamp)
        return FileHash(kept.sha256, kept.mime)

    def put(self, stamp: FileStamp, found: FileHash, /) -> None:
        self.new.put(stamp, found)


@contextmanager
def _past_of(folder: Folder | None) -> Iterator[Database | None]:
    if folder is None or not folder.ledger.is_file():
        yield None
        return
    with folder.reader() as db:
        yield db


def _observed_s(db: Database | None) -> float | None:
    times = listing.latest_run_times(db, _OBSERVED) if db is not None else []
    return statistics.median(times) if len(times) >= _FEWEST_OBSERVED else None


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
