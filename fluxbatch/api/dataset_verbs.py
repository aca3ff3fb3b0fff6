"""The command line's verbs that read or write this machine alone, for programs.

Owns what each takes and answers: the plain values that the command line prints. None is async:
each blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from fluxbatch.api.inputs import ManifestInput, ShapeOptions
from fluxbatch.api.planning import plan
from fluxbatch.api.results import Result, results_in
from fluxbatch.cluster.pools import shard_pool
from fluxbatch.dataset.find_job import find_job
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.errors import ConfigError
from fluxbatch.export.export import write_export
from fluxbatch.export.export_request import Exported, ExportRequest
from fluxbatch.export.filter import EVERYTHING, Filter, parse_filter
from fluxbatch.export.tables import arrow_table, polars_frame
from fluxbatch.ledger.operations.retry import Retried
from fluxbatch.ledger.operations.retry_quality import Reseeded
from fluxbatch.ledger.queries import totals
from fluxbatch.ledger.queries.history.job_history import JobHistory, job_history
from fluxbatch.maintenance.retry import apply_retry, apply_retry_quality
from fluxbatch.planning.plan import Plan
from fluxbatch.report import ReportDir, WrittenReport, write_report

if TYPE_CHECKING:
    import polars

_MOST_SHOWN = 50_000
_Member = TypeVar("_Member", bound=StrEnum)


class DatasetVerbs:
    """What can be done with a dataset beside running it. Every method raises `FluxbatchError`."""

    _folder: Folder

    def status(self) -> DatasetStatus:
        """Where it stands, also while a run goes on."""
        with self._folder.reader() as db:
            return dataset_status(db, self._folder)

    def why(self, name: str) -> JobHistory:
        """The history of one job: `"#12"`, an id of the manifest or ours, a prediction, a file."""
        with self._folder.reader() as db:
            found = find_job(db, self._folder, name)
            if found.job_seq is None:
                raise ConfigError(f"{name!r} is an invalid row: it has no job, and no history")
            return job_history(db, found.job_seq)

    def results(self) -> Iterator[Result]:
        """Every row of the latest manifest, in its order, as the ledger has it now."""
        return results_in(self._folder, EVERYTHING)

    def rows(self, where: str = "") -> Iterator[Result]:
        """The rows that fit, each with those of its images that fit: `"rating=keep"`.

        *where* is a filter as `export` takes it; raises `BadFilter` naming the place.
        """
        return results_in(self._folder, _filter(where))

    def to_arrow(self, where: str = "") -> Any:
        """What fits as a `pyarrow.Table`: a line for each image, or for a row that has none.

        The columns are an export's, and the ratings; what is nested is JSON text, money is
        decimal dollars. Raises `ConfigError` without the extra `tables`.
        """
        return arrow_table(self._folder, _filter(where))

    def to_polars(self, where: str = "") -> polars.DataFrame:
        """`to_arrow` as a data frame of polars; raises `ConfigError` without the extra `tables`."""
        return polars_frame(self._folder, _filter(where))

    def totals(self) -> totals.Totals:
        """Money and images of the whole dataset."""
        with self._folder.reader() as db:
            return totals.totals(db)

    def plan(self, source: ManifestInput | None = None, **options: Unpack[ShapeOptions]) -> Plan:
        """What a run would make, cost and take. Spends nothing; blocks for disk reads."""
        return plan(source, out=self._folder.address, **options)

    def retry(self, kinds: Iterable[str] = ()) -> Retried:
        """Failed jobs back to pending, of these classes or of all; the next run buys them again."""
        return apply_retry(self._folder, _members(FailureClass, kinds))

    def retry_quality(self, notes: Iterable[str]) -> Reseeded:
        """Done jobs with such images (`black`, `flat`, …) back to pending, for another seed."""
        return apply_retry_quality(self._folder, _members(Quality, notes))

    def export(
        self,
        form: str,
        to: str | Path | None = None,
        *,
        where: str = "",
        splits: Sequence[str] = (),
        shard_size: int | None = None,
        include_failed: bool = False,
        embed_images: bool = False,
        license_id: str | None = None,
        processes: int | str = 1,
        on: str | None = None,
    ) -> Exported:
        """Images and rows in the format *form* of other tools; *to* None: into the dataset.

        *processes*: the shards are written by so many, or by one a core where it is `"auto"`.
        *on*: `"ray"` for the cluster of RAY_ADDRESS.
        """
        request = ExportRequest(
            folder=self._folder,
            format=form,
            to=Path(to) if to is not None else None,
            where=_filter(where),
            splits=splits,
            shard_size=shard_size,
            include_failed=include_failed,
            embed_images=embed_images,
            license=license_id,
        )
        with shard_pool(processes, on) as pool:
            return write_export(request, pool)

    def report(
        self,
        to: str | Path | None = None,
        *,
        most: int = _MOST_SHOWN,
        processes: int | str = 1,
        on: str | None = None,
    ) -> WrittenReport:
        """A folder to look at in a browser, with *most* images; *to* None: `report` in it.

        *processes*: the thumbnails are made by so many, or by one a core where it is `"auto"`.
        *on*: `"ray"` for the cluster of RAY_ADDRESS.
        """
        with self._folder.reader():
            pass  # no dataset, no folder
        place = ReportDir.of(self._folder, Path(to) if to is not None else None)
        with shard_pool(processes, on) as pool:
            return write_report(place, most=most, pool=pool)


def _filter(where: str) -> Filter:
    return parse_filter(where) if where else EVERYTHING


def _members(kind: type[_Member], names: Iterable[str]) -> list[_Member]:
    if isinstance(names, str):
        names = [names]
    try:
        return [kind(name) for name in names]
    except ValueError as exc:
        known = ", ".join(member.value for member in kind)
        raise ConfigError(f"{exc}; there are: {known}") from None
