"""One export from the ledger to files that are there whole: choose, name, gather, write.

Owns the order of it. The ledger is read page by page while a run may go on; what a row was when
its page was read is what is exported. Run again, only what changed is written.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.node_sight import refuse_blind_nodes
from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.dataset.ratings import with_rating
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import ExportRecord, Sample, samples_of
from fluxbatch.export.croissant import METADATA_NAME, croissant_metadata
from fluxbatch.export.dataset_card import NAME, Contents, card
from fluxbatch.export.destination import export_destination
from fluxbatch.export.filter import EVERYTHING, Filter
from fluxbatch.export.formats import open_format, writing
from fluxbatch.export.formats.base import ExportFormat, Spool, Stem, open_spool
from fluxbatch.export.formats.jsonl import line_of
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, OutputDir, explained, held_place, mark_of
from fluxbatch.export.sample_keys import SampleKeys
from fluxbatch.export.shard_writer import ShardTask, write_shard
from fluxbatch.export.splits import Split, parse_splits
from fluxbatch.infra.atomic_file import rename_durably
from fluxbatch.infra.redaction import strip_queries
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries import runs_and_failures, totals
from fluxbatch.ledger.queries.results import row_results
from fluxbatch.shards.pool import INLINE, ShardPool, map_shards

FAILED_ROWS = "failed.jsonl"
"""Where failed rows go if the format cannot hold a row without an image."""

_ENDED_BADLY = (JobState.FAILED.value, "invalid")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, how and where."""

    folder: Folder
    format: str
    """As in `formats.format_names`."""
    to: Path | None = None
    """A folder; for jsonl, csv and parquet also a file with that ending. None: in the dataset."""
    where: Filter = EVERYTHING
    splits: Sequence[str] = ()
    """As in `splits.parse_splits`."""
    shard_size: int | None = None
    include_failed: bool = False
    embed_images: bool = False
    license: str | None = None
    costs: bool = True
    """Whether rows and card say what it cost."""
    has_card: bool = False
    """Whether jsonl and csv get a card too."""
    queries: bool = True
    """Whether URLs in inputs keep their queries, which may be tokens."""


@dataclass(slots=True)
class Exported:
    """What an export wrote, and what it left out."""

    path: Path
    rows: int = 0
    images: int = 0
    failed_rows: int = 0
    """Failed and invalid rows without an image that are in it."""
    failed_left_out: int = 0
    unended_left_out: int = 0
    controls_missing: int = 0
    """Control images that are no more what they were, so left out."""
    splits: dict[str, int] = field(default_factory=dict)
    written: int = 0
    """Shards."""
    kept: int = 0
    """Shards that were there already, as they should be."""
    removed: int = 0
    card_kept: bool = False
    """The card was edited by hand, so it stays; the new one lies beside it."""
    models: set[str] = field(default_factory=set)
    has_controls: bool = False
    """Whether some of it was made from another image."""
    files: dict[str, str] = field(default_factory=dict, repr=False)
    """Of a folder: the sha256 of each file that belongs to it."""
    patterns: tuple[str, ...] = ()
    """Of a folder: the names of its shards, as globs."""


def write_export(request: ExportRequest, pool: ShardPool = INLINE) -> Exported:
    """Export the latest manifest's rows, the shards written by *pool*.

    Raises `ConfigError` for what cannot be asked for or where nothing matches, `ExportFailed`
    where an image is not what the ledger says or the disk fails; what is finished stays.
    """
    with request.folder.reader() as db:
        folder = request.folder
        images = SampleImages(ControlFiles(open_images(folder, db), folder.is_shared), folder.root)
        made = _format(request, images)
        split = parse_splits(request.splits)
        in_parts = bool(request.splits or request.shard_size)
        to = export_destination(request.folder, made, request.to, in_parts=in_parts)
        latest = runs_and_failures.latest_manifest(db)
        if latest is None:
            raise ConfigError(f"{request.folder.name!r} has no rows yet: nothing was ever run")
        done = Exported(to)
        samples = _Choice(request, made, images, split, done).samples(db, latest.seq)
        with writing(made.name):
            if to.suffix == f".{made.name}":
                _to_file(made, samples, to, done)
            else:
                with held_place(to, made.name) as place:
                    read = images.store if made.holds_images else None
                    refuse_blind_nodes(pool, db, read, place.root)
                    _Shards(request, made, images.controls, place, done).write(samples, pool)
                    _tell(request, made, place, done, totals.totals(db))
    done.controls_missing = images.controls_missing
    return done


def _format(request: ExportRequest, images: SampleImages) -> ExportFormat:
    if request.embed_images and request.format != "parquet":
        raise ConfigError(f"--embed-images is for parquet, not for {request.format}")
    made = open_format(request.format, images, embed=request.embed_images)
    size = request.shard_size
    if size is not None and (size < 1 or (made.most is not None and size > made.most)):
        most = f"at most {made.most:,}" if made.most is not None else "any more"
        raise ConfigError(f"--shard-size {size}: a shard of {made.name} has 1 sample or {most}")
    return made


class _Choice:
    """Which samples are exported, each with its key and split."""

    def __init__(
        self,
        request: ExportRequest,
        made: ExportFormat,
        images: SampleImages,
        split: Split,
        done: Exported,
    ) -> None:
        self._matches = request.where.matches
        self._ratings = ratings_of(request.folder)
        self._include_failed = request.include_failed
        self._costs, self._queries = request.costs, request.queries
        self._holds_images = made.holds_images
        self._images = images
        self._split = split
        self._done = done
        self._keys = SampleKeys()

    def samples(self, db: Database, manifest_seq: int) -> Iterator[Sample]:
        """In the manifest's order, each row's images in the order they were made."""
        for row in row_results(db, manifest_seq):
            key = None
            for number, sample in enumerate(samples_of(row)):
                record = sample.record
                key = key or self._keys.row_key(record)
                if not self._matches(with_rating(record, self._ratings)) or not self._is_in(record):
                    continue
                record["key"] = f"{key}_{number}"
                record["split"] = self._split(record)
                self._leave_out(record)
                self._count(record)
                self._images.refuse(sample)
                # A million rows may share one control image: it is looked at once.
                control = self._images.seen(sample.control) if self._holds_images else None
                yield sample if control is sample.control else sample._replace(control=control)

    def _leave_out(self, record: ExportRecord) -> None:
        if not self._costs:
            record["cost_usd"] = record["cost_is_estimated"] = None
        if not self._queries:
            for name in ("input", "meta", "axes"):
                record[name] = strip_queries(record[name])

    def _is_in(self, record: ExportRecord) -> bool:
        if record["file_name"] is not None:
            return True
        if record["status"] not in _ENDED_BADLY:
            self._done.unended_left_out += 1
            return False
        self._done.failed_left_out += not self._include_failed
        return self._include_failed

    def _count(self, record: ExportRecord) -> None:
        done = self._done
        done.rows += 1
        done.images += record["file_name"] is not None
        done.failed_rows += record["file_name"] is None
        if record["model"] is not None:
            done.models.add(record["model"])
        done.has_controls |= record["control_sha256"] is not None or "control_image" in (
            record["input"] or ()
        )


def _to_file(made: ExportFormat, samples: Iterator[Sample], to: Path, done: Exported) -> None:
    """One file with every split in it."""
    folder = to.parent / f".{to.name}.part"
    stem = Stem("all", 0)
    with explained(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            draft = Draft(folder)
            made.write(_told(samples, done), draft, stem)
            _refuse_nothing(done)
            ((name, sha256),) = draft.files.items()
            if to.is_file() and hashlib.sha256(to.read_bytes()).hexdigest() == sha256:
                done.kept += 1
            else:
                rename_durably(folder / name, to)
                done.written += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _told(samples: Iterator[Sample], done: Exported) -> Iterator[Sample]:
    for sample in samples:
        split = sample.record["split"]
        done.splits[split] = done.splits.get(split, 0) + 1
        yield sample


def _refuse_nothing(done: Exported, *, needs_image: bool = False) -> None:
    if done.images or (done.rows and not needs_image):
        return
    reasons = []
    if done.failed_left_out:
        reasons.append(f"{done.failed_left_out:,} failed rows (--include-failed)")
    if done.unended_left_out:
        reasons.append(f"{done.unended_left_out:,} rows that have no end yet")
    left = " and ".join(reasons)
    raise ConfigError(
        "nothing is to be exported: "
        + (f"there are only {left}" if left else "no row matches, or none has an image")
    )


class _Shards:
    """Samples in, shards out: one open shard a split."""

    def __init__(
        self,
        request: ExportRequest,
        made: ExportFormat,
        controls: ControlFiles,
        place: OutputDir,
        done: Exported,
    ) -> None:
        self._request = request
        self._made = made
        self._controls = controls
        self._place = place
        self._done = done
        self._size = request.shard_size or made.shard_size
        self._open: dict[str, Spool] = {}
        self._full: deque[Spool] = deque()
        """On their way to a shard, in order."""
        self._numbers: dict[str, int] = {}
        self._files: set[str] = set()
        """Whatever is in the folder now and ours."""

    def write(self, samples: Iterator[Sample], pool: ShardPool) -> None:
        failed = Spool(self._place.spool("_failed"), Stem("failed", 0), "failed 1")
        try:
            for draft in map_shards(pool, write_shard, self._tasks(samples, failed)):
                self._finish(self._full.popleft(), draft)
            self._finish_failed(failed)
        finally:
            for spool in (failed, *self._full, *self._open.values()):
                spool.close()
        self._done.removed = self._place.remove_others(self._made.patterns, self._files)
        self._done.patterns = self._made.patterns

    def _tasks(self, samples: Iterator[Sample], failed: Spool) -> Iterator[ShardTask]:
        """Each shard once it is full; what is not an image's goes to *failed*."""
        for sample in samples:
            if self._made.needs_image and sample.image is None:
                failed.add(sample)
                continue
            spool = self._spool_of(sample.record["split"])
            spool.add(sample)
            if spool.samples == self._size:
                yield self._task(spool)
        _refuse_nothing(self._done, needs_image=self._made.needs_image)
        for split in sorted(self._open):
            yield self._task(self._open[split])

    def _spool_of(self, split: str) -> Spool:
        spool = self._open.get(split)
        if spool is None:
            number = self._numbers.get(split, -1) + 1
            self._numbers[split] = number
            stem = Stem(split, number)
            spool = open_spool(self._made, self._place.spool(str(stem)), stem)
            self._open[split] = spool
        return spool

    def _task(self, spool: Spool) -> ShardTask:
        self._full.append(self._open.pop(spool.stem.split))
        request = self._request
        return ShardTask(
            spool.sealed(),
            request.format,
            request.embed_images,
            self._controls,
            request.folder.root,
            self._place.root,
            self._made.mark(spool.stem),
        )

    def _finish(self, spool: Spool, draft: Draft | None) -> None:
        shard, splits = spool.sealed(), self._done.splits
        splits[shard.stem.split] = splits.get(shard.stem.split, 0) + shard.samples
        mark = self._made.mark(shard.stem)
        if draft is None:
            self._done.kept += 1
        else:
            content = {"made_of": shard.made_of, "samples": shard.samples}
            self._place.commit(draft, mark, content)
            self._done.written += 1
        self._files |= self._place.names(mark)
        self._done.files |= self._place.files(mark)
        if mark != mark_of(str(shard.stem)) and (sha256 := self._place.sha256(mark)) is not None:
            self._done.files[mark] = sha256  # it is one of the files
        spool.close()

    def _finish_failed(self, spool: Spool) -> None:
        """Rows that a format of images cannot hold lie beside it."""
        mark = mark_of("failed")
        shard = spool.sealed()
        if shard.samples == 0:
            self._place.remove(mark, FAILED_ROWS)
        elif not self._place.is_done(mark, shard.made_of):
            with self._place.draft() as draft, draft.open(FAILED_ROWS) as file:
                file.writelines(line_of(sample.record) for sample in shard.read())
            self._place.commit(draft, mark, {"made_of": shard.made_of})
        self._done.files |= self._place.files(mark)


def _tell(
    request: ExportRequest,
    made: ExportFormat,
    place: OutputDir,
    done: Exported,
    totals: totals.Totals,
) -> None:
    """Write the metadata for machines, and the card, unless somebody has made it theirs."""
    about = Contents(
        title=Path(request.folder.name).name or "dataset",
        format_name=made.name,
        data_files=made.data_files,
        splits=dict(sorted(done.splits.items())),
        images=done.images,
        models=tuple(sorted(done.models)),
        totals=totals if request.costs else None,
        has_controls=done.has_controls,
        where=request.where.text,
        failed_in=0 if made.needs_image else done.failed_rows,
        license=request.license,
    )
    machines = croissant_metadata(
        about, place.root, done.files, has_image_columns=request.embed_images
    )
    if machines is not None:
        done.files[METADATA_NAME] = place.write(METADATA_NAME, machines)
    if made.name in ("jsonl", "csv") and not request.has_card:
        return
    done.card_kept = place.write_card(NAME, card(about))
    if (card_is := place.sha256(NAME)) is not None:
        done.files[NAME] = card_is
