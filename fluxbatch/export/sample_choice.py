"""The choice of samples: which lines of a manifest are exported, each with its key and split.

Owns what is left out, of rows and of columns, and the count of both. Page by page: a million rows
are never held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fluxbatch.dataset.rating_store import ratings_of
from fluxbatch.dataset.ratings import with_rating
from fluxbatch.domain.job import JobState
from fluxbatch.export.columns import INVALID, SamplePage, sample_page
from fluxbatch.export.filter import EVERYTHING
from fluxbatch.export.sample_keys import SampleKeys
from fluxbatch.infra.redaction import strip_queries
from fluxbatch.ledger.queries.results import result_pages

if TYPE_CHECKING:
    from fluxbatch.export.export_request import Exported, ExportRequest
    from fluxbatch.export.formats.base import ExportFormat
    from fluxbatch.export.images import SampleImages
    from fluxbatch.export.splits import Split
    from fluxbatch.ledger.db.database import Database

_ENDED_BADLY = (JobState.FAILED.value, INVALID)


class SampleChoice:
    """Which samples are exported, each with its key and split."""

    def __init__(
        self,
        request: ExportRequest,
        made: ExportFormat,
        images: SampleImages,
        split: Split,
        done: Exported,
    ) -> None:
        self._where = request.where
        self._ratings = ratings_of(request.folder)
        self._include_failed = request.include_failed
        self._costs, self._queries = request.costs, request.queries
        self._holds_images = made.holds_images
        self._images = images
        self._split = split
        self._done = done
        self._keys = SampleKeys()

    def pages(self, db: Database, manifest_seq: int) -> Iterator[SamplePage]:
        """In the manifest's order, each row's images in the order they were made."""
        for results in result_pages(db, manifest_seq):
            page = sample_page(results)
            page.columns["key"] = self._keys.of(page)
            page = self._chosen(page)
            if not page:
                continue
            read = (page.columns[name] for name in self._split.reads)
            page.columns["split"] = list(map(self._split, *read))
            page = self._with_less(page)
            self._count(page.columns)
            self._images.refuse_strays(page.images)
            if self._holds_images:  # a million rows may share one control image, looked at once
                yield replace(page, controls=list(map(self._images.seen, page.controls)))
            else:
                yield replace(page, controls=[None] * len(page))

    def _chosen(self, page: SamplePage) -> SamplePage:
        lines: Sequence[int] = range(len(page))
        if self._where is not EVERYTHING:
            fits = self._where.matches
            records = enumerate(page.records())
            lines = [n for n, one in records if fits(with_rating(one, self._ratings))]
        statuses = page.columns["status"]
        return page.taken(
            [n for n in lines if page.images[n] is not None or self._is_in(statuses[n])]
        )

    def _is_in(self, status: str) -> bool:
        """Whether a row without an image is."""
        if status not in _ENDED_BADLY:
            self._done.unended_left_out += 1
            return False
        self._done.failed_left_out += not self._include_failed
        return self._include_failed

    def _with_less(self, page: SamplePage) -> SamplePage:
        columns = page.columns
        if not self._costs:
            columns["cost_usd"] = columns["cost_is_estimated"] = [None] * len(page)
        if self._queries:
            return page
        for name in ("input", "meta", "axes"):
            columns[name] = list(map(strip_queries, columns[name]))
        return replace(page, texts={})

    def _count(self, columns: Mapping[str, Sequence[Any]]) -> None:
        done, rows = self._done, len(columns["row"])
        failed = columns["file_name"].count(None)
        done.rows += rows
        done.images += rows - failed
        done.failed_rows += failed
        done.models.update(model for model in columns["model"] if model is not None)
        done.has_controls = (
            done.has_controls
            or columns["control_sha256"].count(None) < rows
            or any("control_image" in given for given in columns["input"])
        )
