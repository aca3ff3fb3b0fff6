"""One export from the ledger to files that are there whole: choose, name, gather, write.

Owns the order of it. The ledger is read page by page while a run may go on; what a row was when
its page was read is what is exported. Run again, only what changed is written.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.node_sight import refuse_blind_nodes
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import SamplePage
from fluxbatch.export.croissant import METADATA_NAME, croissant_metadata
from fluxbatch.export.dataset_card import NAME, Contents, card
from fluxbatch.export.destination import export_destination
from fluxbatch.export.export_request import Exported, ExportRequest
from fluxbatch.export.formats import open_format, writing
from fluxbatch.export.formats.base import ExportFormat, Spool, Stem, open_spool, write_pages
from fluxbatch.export.formats.jsonl import line_of
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, OutputDir, explained, held_place, mark_of
from fluxbatch.export.sample_choice import SampleChoice
from fluxbatch.export.shard_writer import ShardTask, write_shard
from fluxbatch.export.splits import parse_splits
from fluxbatch.infra.atomic_file import rename_durably
from fluxbatch.ledger.queries import runs_and_failures, totals
from fluxbatch.shards.pool import INLINE, ShardPool, map_shards

FAILED_ROWS = "failed.jsonl"
"""Where failed rows go if the format cannot hold a row without an image."""


def write_export(request: ExportRequest, pool: ShardPool = INLINE) -> Exported:
    """Export the latest manifest's rows, the shards written by *pool*.

    Raises `ConfigError` for what cannot be asked for or where nothing matches, `ExportFailed`
    where an image is not what the ledger says or the disk fails; what is finished stays.
    """
    with request.folder.reader() as db:
        folder = request.folder
        images = SampleImages(ControlFiles(open_images(folder, db), folder.is_shared), folder.typed)
        made = _format(request, images)
        split = parse_splits(request.splits)
        in_parts = bool(request.splits or request.shard_size)
        to = export_destination(request.folder, made, request.to, in_parts=in_parts)
        latest = runs_and_failures.latest_manifest(db)
        if latest is None:
            raise ConfigError(f"{request.folder.name!r} has no rows yet: nothing was ever run")
        done = Exported(to)
        pages = SampleChoice(request, made, images, split, done).pages(db, latest.seq)
        with writing(made.name):
            if to.suffix == f".{made.name}":
                _to_file(made, pages, to, done)
            else:
                with held_place(to, made.name) as place:
                    read = images.store if made.holds_images else None
                    refuse_blind_nodes(pool, db, read, place.root)
                    _Shards(request, made, images.controls, place, done).write(pages, pool)
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


def _to_file(made: ExportFormat, pages: Iterator[SamplePage], to: Path, done: Exported) -> None:
    """One file with every split in it."""
    folder = to.parent / f".{to.name}.part"
    stem = Stem("all", 0)
    with explained(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            draft = Draft(folder)
            write_pages(made, _told(pages, done), draft, stem)
            _refuse_nothing(done)
            ((name, sha256),) = draft.files.items()
            if to.is_file() and hashlib.sha256(to.read_bytes()).hexdigest() == sha256:
                done.kept += 1
            else:
                rename_durably(folder / name, to)
                done.written += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _told(pages: Iterator[SamplePage], done: Exported) -> Iterator[SamplePage]:
    for page in pages:
        for split, count in Counter(page.columns["split"]).items():
            done.splits[split] = done.splits.get(split, 0) + count
        yield page


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

    def write(self, pages: Iterator[SamplePage], pool: ShardPool) -> None:
        failed = Spool(self._place.spool("_failed"), Stem("failed", 0), "failed 1")
        try:
            for draft in map_shards(pool, write_shard, self._tasks(pages, failed)):
                self._finish(self._full.popleft(), draft)
            self._finish_failed(failed)
        finally:
            for spool in (failed, *self._full, *self._open.values()):
                spool.close()
        self._done.removed = self._place.remove_others(self._made.patterns, self._files)
        self._done.patterns = self._made.patterns

    def _tasks(self, pages: Iterator[SamplePage], failed: Spool) -> Iterator[ShardTask]:
        """Each shard once it is full; what is not an image's goes to *failed*."""
        for page in pages:
            if self._made.needs_image and None in page.images:
                failed.add(page.taken([n for n, one in enumerate(page.images) if one is None]))
                page = page.taken([n for n, one in enumerate(page.images) if one is not None])
            for split, part in page.by("split"):
                yield from self._filled(split, part)
        _refuse_nothing(self._done, needs_image=self._made.needs_image)
        for split in sorted(self._open):
            yield self._task(self._open[split])

    def _filled(self, split: str, page: SamplePage) -> Iterator[ShardTask]:
        """The shards that are full with *page*."""
        begin = 0
        while begin < len(page):
            spool = self._spool_of(split)
            end = len(page)
            if self._size is not None:
                end = min(end, begin + self._size - spool.samples)
            spool.add(page.taken(range(begin, end)))
            begin = end
            if spool.samples == self._size:
                yield self._task(spool)

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
            request.folder.typed,
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
