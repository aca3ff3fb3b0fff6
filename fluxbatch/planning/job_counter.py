"""The counter of a plan's jobs, row by row: new, done, changed, and their requests.

Owns the comparison with what a dataset has. Memory grows by some bytes a job, never by a
row; a dataset is only read. Prices and times belong to `plan` and `estimate`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fluxbatch.config.settings import Settings
from fluxbatch.domain.job import (
    ControlFile,
    Input,
    JobId,
    JobState,
    Row,
    as_sent,
    canonical_json,
    derived_seed,
)
from fluxbatch.errors import BadRow
from fluxbatch.infra.compact_set import NumberSet
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.uploads import find_file, find_upload
from fluxbatch.ledger.queries import results, runs_and_failures
from fluxbatch.ledger.queries.imported_rows import ImportedPage
from fluxbatch.manifest import CompactMap, FileHash, FileStamp, MemoryFileHashes
from fluxbatch.manifest.split_names import UnfitSplits
from fluxbatch.models import ModelCard
from fluxbatch.planning.known_rows import names_split, row_as_imported
from fluxbatch.worker.poll_schedule import kind_of

_FIRST_ROWS = 3
_NO_JOB = bytes(16)


@dataclass(frozen=True, slots=True)
class PlannedJobs:
    """A manifest's jobs, each counted once; together they are the total."""

    new: int
    """To be submitted: not in the dataset, or still waiting there."""
    changed: int
    """To be submitted: their row named another job when the dataset last saw it."""
    done: int
    begun: int
    """Submitted already, not on disk yet; the run adopts them for nothing."""
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
class PlannedRow:
    """A row as it would be sent; a local file's URL is not known yet."""

    name: runs_and_failures.RowName
    input: Input
    control_path: str | None = None
    """Of a control image that is a file of this machine."""


class JobCounter:
    """Counts rows as they pass; memory grows by a few bytes a job."""

    def __init__(
        self, settings: Settings, card: ModelCard, db: Database | None, bad_rows_kept: int
    ) -> None:
        self._card = card
        self._derives_seed = settings.inputs.seed == "derived"
        self._db = db
        self._past = PreviousManifest(db)
        self._seen = CompactMap()
        self._met = NumberSet()
        """Of jobs that the ledger has numbered."""
        self._bad_rows_kept = bad_rows_kept
        self._counts: dict[str, int] = {}
        self._now = datetime.now(UTC)
        self.rows = 0
        self.duplicates = 0
        self.images = 0
        self.kinds: Counter[Hashable] = Counter()
        """Of the jobs to be submitted: what their durations depend on."""
        self.uploads = CompactMap()
        self.upload_bytes = 0
        self.splits = UnfitSplits()
        self.first_rows: list[PlannedRow] = []
        self.bad_rows: list[BadRow] = []
        self.urls: dict[str, runs_and_failures.RowName] | None = None
        """Control images by URL, each with the first row that names it; None: nobody asks."""
        self.control_notes: dict[str, tuple[str, ...]] = {}
        """By the path of a control image read for the first time."""
        self.seed_siblings = 0
        """Single images to be submitted that differ from an earlier one by their seed alone."""
        self._but_for_seed = CompactMap()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Of every row's job, in their order: equal where a manifest names the same jobs."""
        return self._digest.hexdigest()

    def note_bad(self, bad: BadRow) -> None:
        if len(self.bad_rows) < self._bad_rows_kept:
            self.bad_rows.append(bad)

    def add(self, row: Row) -> None:
        self.rows += 1
        if row.job is None:
            self._digest.update(_NO_JOB)
            self._count("invalid")
            return
        self._digest.update(row.job.job_id)
        self.splits.note(row)
        state = self._past.unmoved(row, row.job.job_id)
        is_changed = state is None and self._past.is_changed(row, row.job.job_id)
        if self._seen.setdefault(row.job.job_id):
            self.duplicates += 1
            return
        if state is None and self._db is not None:
            state = results.job_state(self._db, row.job.job_id)
        self._add_job(row, state, is_changed=is_changed)

    def add_imported(self, db: Database, page: ImportedPage) -> None:
        """As `add`, for rows of the latest manifest of *db*: only of what is to be bought, or names
        a split, is more read than the job and its state."""
        self.rows += len(page.job_ids)
        self._digest.update(b"".join(page.job_ids))
        for place, meta in enumerate(page.metas):
            if names_split(meta):
                self.splits.note(row_as_imported(db, page.row(place)))
        new = [place for place, seq in enumerate(page.job_seqs) if self._met.add(seq)]
        self.duplicates += len(page.job_ids) - len(new)
        for state, jobs in Counter([page.states[place] for place in new]).items():
            self._count(_kind_of(JobState(state)), jobs)
        for place in new:
            if page.states[place] == JobState.PENDING:
                self._add_to_buy(row_as_imported(db, page.row(place)))

    def _add_job(self, row: Row, state: JobState | None, *, is_changed: bool) -> None:
        self._count("changed" if is_changed and state is None else _kind_of(state))
        if state in (None, JobState.PENDING):
            self._add_to_buy(row)

    def jobs(self) -> PlannedJobs:
        names = ("new", "changed", "done", "begun", "failed", "invalid")
        return PlannedJobs(**{name: self._counts.get(name, 0) for name in names})

    def _count(self, kind: str, jobs: int = 1) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + jobs

    def _add_to_buy(self, row: Row) -> None:
        assert row.job is not None
        self.images += row.job.outputs_wanted
        self.kinds[kind_of(row.job.input)] += 1
        if row.job.outputs_wanted == 1:
            self._look_for_siblings(row.job.input)
        if self.urls is not None and row.control is None:
            self._note_urls(row)
        if row.control is not None and row.control.notes:
            self.control_notes[row.control.path] = row.control.notes
        if row.control is not None and self._needs_upload(row.control):
            self.upload_bytes += row.control.bytes
        if len(self.first_rows) < _FIRST_ROWS:
            name = runs_and_failures.RowName(row.number, row.line, row.user_id)
            control = row.control.path if row.control is not None else None
            self.first_rows.append(PlannedRow(name, self._as_sent(row), control))

    def _look_for_siblings(self, given: Input) -> None:
        if "seed" in given and "num_outputs" in self._card.inputs:
            others = {name: value for name, value in given.items() if name != "seed"}
            self.seed_siblings += bool(self._but_for_seed.setdefault(canonical_json(others)))

    def _note_urls(self, row: Row) -> None:
        assert row.job is not None
        assert self.urls is not None
        for name in self._card.file_inputs:
            url = str(row.job.input.get(name, ""))
            if url.startswith(("https://", "http://")):
                self.urls.setdefault(
                    url, runs_and_failures.RowName(row.number, row.line, row.user_id)
                )

    def _needs_upload(self, control: ControlFile) -> bool:
        known = find_upload(self._db, control.sha256) if self._db is not None else None
        if known is not None and (known.expires_at or datetime.max.replace(tzinfo=UTC)) > self._now:
            return False
        return not self.uploads.setdefault(control.sha256)

    def _as_sent(self, row: Row) -> Input:
        assert row.job is not None
        seed = None
        takes_seed = self._derives_seed and self._card.takes_derived_seed
        if takes_seed and "seed" not in row.job.input:
            seed = derived_seed(row.job.job_id)
        url = f"upload:sha256:{row.control.sha256}" if row.control is not None else None
        # As the ledger will have it, because that is what leaves: names sorted, 10.0 written 10.
        given: Input = json.loads(row.job.input_json or canonical_json(row.job.input))
        return as_sent(given, self._card.file_inputs, url, seed)


def _kind_of(state: JobState | None) -> str:
    """The name in `PlannedJobs`; None: of a job that the dataset has not."""
    match state:
        case None | JobState.PENDING:
            return "new"
        case JobState.DONE | JobState.FAILED:
            return state.value
        case _:
            return "begun"


class PreviousManifest:
    """Which jobs the dataset's latest manifest named, row by row.

    As long as the rows are those of that manifest, in its order, they are compared one by one as
    both are read. From the first other one on they are looked up, in hashes of all of them.
    """

    def __init__(self, db: Database | None) -> None:
        self._db = db
        self._latest = runs_and_failures.latest_manifest(db) if db is not None else None
        self._in_step: Iterator[results.NamedJob] | None = None
        if db is not None and self._latest is not None:
            self._in_step = results.named_jobs(db, self._latest.seq)
        self._passed = 0
        self._jobs: CompactMap | None = None
        self._keys = _RowKeys()

    def unmoved(self, row: Row, job: JobId) -> JobState | None:
        """The state of *row*'s job, if this row named it too; None where that is not known."""
        if self._in_step is None:
            return None
        named = next(self._in_step, None)
        if named is not None and named.job_id == job and _is_same_row(named, row):
            self._passed += 1
            return named.state
        self._in_step = None
        self._look_up()
        return None

    def is_changed(self, row: Row, job: JobId) -> bool:
        """Whether *row*, which is not `unmoved`, named another job."""
        if self._jobs is None:
            return False
        mark = _mark(job)
        key = self._keys.of(row.user_id, row.line, _axes_json(row))
        return self._jobs.setdefault(key, mark) not in (0, mark)

    def _look_up(self) -> None:
        assert self._db is not None
        assert self._latest is not None
        self._jobs, keys = CompactMap(), _RowKeys()
        for passed, named in enumerate(results.named_jobs(self._db, self._latest.seq), 1):
            key = keys.of(named.user_id, named.line, named.axes_json)
            self._jobs.setdefault(key, _mark(named.job_id))
            if passed == self._passed:
                self._keys = keys.copy()


def _is_same_row(named: results.NamedJob, row: Row) -> bool:
    if named.user_id != row.user_id or named.axes_json != _axes_json(row):
        return False
    return row.user_id is not None or named.line == row.line


def _axes_json(row: Row) -> str | None:
    return json.dumps(row.axes, ensure_ascii=False) if row.axes else None


class _RowKeys:
    """What makes a row the same row in two manifests: its id, else its line; then its cell."""

    def __init__(self) -> None:
        self._last = ""
        self._ordinal = 0

    def copy(self) -> _RowKeys:
        other = _RowKeys()
        other._last, other._ordinal = self._last, self._ordinal
        return other

    def of(self, user_id: str | None, line: int, axes_json: str | None) -> str:
        key = f"{user_id!r} {axes_json}" if user_id is not None else f"{line} {axes_json}"
        self._ordinal = self._ordinal + 1 if key == self._last else 0
        self._last = key
        return f"{key} {self._ordinal}"


def _mark(job: JobId) -> int:
    return int.from_bytes(job[:4], "big") % (2**32 - 1) + 1


@dataclass(slots=True)
class KnownHashes:
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
