"""The command line's verbs on a dataset that is there already, for programs.

Owns what each takes and answers: the plain values that the command line prints. What asks the
provider is async; what reads or writes this machine alone is not, and blocks for the disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from fluxbatch.api.run_at_work import RunAtWork
from fluxbatch.config.api_keys import ApiKey, keys_for
from fluxbatch.config.loading import environment, load_settings
from fluxbatch.dataset.find_job import find_job
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.errors import ConfigError
from fluxbatch.events import Event, Events
from fluxbatch.export.export import Exported, ExportRequest, write_export
from fluxbatch.export.filter import EVERYTHING, parse_filter
from fluxbatch.ledger.operations.retry import Retried
from fluxbatch.ledger.operations.retry_quality import Reseeded
from fluxbatch.ledger.queries.job_history import JobHistory, job_history
from fluxbatch.maintenance import (
    CancelReport,
    DatasetRequest,
    PruneReport,
    ReconcileReport,
    RepairReport,
    cancel_dataset,
    prune_uploads,
    reconcile_dataset,
    repair_dataset,
    saved_settings,
)
from fluxbatch.maintenance.recover import RecoverReport, recover_dataset
from fluxbatch.maintenance.retry import apply_retry, apply_retry_quality
from fluxbatch.report import ReportDir, WrittenReport, write_report

_MOST_SHOWN = 50_000
_Member = TypeVar("_Member", bound=StrEnum)
_OnEvent = Callable[[Event], None]


class DatasetVerbs:
    """What can be done with a dataset beside running it. Every method raises `FluxbatchError`."""

    _folder: Folder

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunAtWork]:
        """The run that is at work, wherever it was begun; raises `ConfigError` where none is.

        It goes on after the block.
        """
        run = RunAtWork(self._folder)
        await run.show()
        yield run

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
    ) -> Exported:
        """Images and rows in the format *form* of other tools; *to* None: into the dataset."""
        return write_export(
            ExportRequest(
                folder=self._folder,
                format=form,
                to=Path(to) if to is not None else None,
                where=parse_filter(where) if where else EVERYTHING,
                splits=splits,
                shard_size=shard_size,
                include_failed=include_failed,
                embed_images=embed_images,
                license=license_id,
            )
        )

    def report(self, to: str | Path | None = None, *, most: int = _MOST_SHOWN) -> WrittenReport:
        """A folder to look at in a browser, with *most* images; *to* None: `report` in it."""
        with self._folder.reader():
            pass  # no dataset, no folder
        place = ReportDir.of(self._folder, Path(to) if to is not None else None)
        return write_report(place, most=most)

    async def reconcile(
        self, *, adopt: bool = False, base_url: str = "", on_event: _OnEvent | None = None
    ) -> ReconcileReport:
        """Settle and audit against the provider's own record; creates nothing."""
        request = self._asking(base_url)
        return await reconcile_dataset(request, _heard(on_event), adopt=adopt)

    async def repair(self, *, base_url: str = "", on_event: _OnEvent | None = None) -> RepairReport:
        """Check every stored file and fetch again what is not whole; without a key, only check."""
        return await repair_dataset(self._asking(base_url, needs_key=False), _heard(on_event))

    async def recover(self, *, base_url: str = "") -> RecoverReport:
        """Write a lost ledger anew from sidecars and images; buys nothing.

        With a key of the environment the provider's listing tells what it cost. Raises
        `ConfigError` where the ledger is there, or nothing tells of one.
        """
        environ = environment()
        flags = {"provider": {"base_url": base_url}} if base_url else {}
        settings = load_settings(None, flags, environ)
        try:
            keys = tuple(keys_for(settings, environ))
        except ConfigError:
            keys = ()
        return await recover_dataset(DatasetRequest(settings, keys, self._folder))

    async def cancel(
        self, *, wait_s: float = 60.0, base_url: str = "", on_event: _OnEvent | None = None
    ) -> CancelReport:
        """Ask the provider to stop what runs, and follow it for *wait_s* seconds at most."""
        return await cancel_dataset(self._asking(base_url), _heard(on_event), wait_s=wait_s)

    async def prune_uploads(
        self, *, base_url: str = "", on_event: _OnEvent | None = None
    ) -> PruneReport:
        """Delete at the provider every upload that no pending or active job needs."""
        return await prune_uploads(self._asking(base_url), _heard(on_event))

    def _asking(self, base_url: str, *, needs_key: bool = True) -> DatasetRequest:
        """With the environment's keys, and the provider as the latest run was configured."""
        environ = environment()
        flags = {"provider": {"base_url": base_url}} if base_url else {}
        settings = saved_settings(self._folder, flags, environ)
        try:
            keys: list[ApiKey] = keys_for(settings, environ)
        except ConfigError:
            if needs_key:
                raise
            keys = []
        return DatasetRequest(settings, tuple(keys), self._folder)


def _heard(on_event: _OnEvent | None) -> Events:
    return Events(on_event) if on_event is not None else Events()


def _members(kind: type[_Member], names: Iterable[str]) -> list[_Member]:
    if isinstance(names, str):
        names = [names]
    try:
        return [kind(name) for name in names]
    except ValueError as exc:
        known = ", ".join(member.value for member in kind)
        raise ConfigError(f"{exc}; there are: {known}") from None
