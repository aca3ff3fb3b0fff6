"""The functions and values of the Python API: the command line's verbs for programs.

Owns what is promised to programs: `Dataset`, `run`, `plan` and the plain values they
return. Everything is done by the engine, the planner and the ledger; a refusal is the exception
they raise, an outcome is the summary's exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, cast

from fluxbatch.api.call_options import checked_options, checked_path, checked_source
from fluxbatch.api.dataset_verbs import DatasetVerbs
from fluxbatch.api.event_logging import logging_listener
from fluxbatch.api.inputs import ManifestInput, PythonInputs, ShapeOptions, as_python_said
from fluxbatch.api.notebook_html import dataset_html, summary_html
from fluxbatch.api.planning import plan
from fluxbatch.api.progress_bar import progress_bar
from fluxbatch.api.provider_verbs import ProviderVerbs
from fluxbatch.api.results import Image, Result
from fluxbatch.api.run_at_work import RunAtWork, SyncRunAtWork
from fluxbatch.api.sync_calls import SyncTwin, in_own_loop, twin
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.hooks.run import with_hooks
from fluxbatch.engine.notify import with_notifications
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.errors import ManifestError
from fluxbatch.events import Events, Listener
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import in_thread
from fluxbatch.planning.plan import Plan

__all__ = [
    "Dataset", "Image", "Options", "Plan", "Result", "RunSummary", "SyncDataset", "plan", "run",
]  # fmt: skip


class Options(ShapeOptions, total=False):
    """The options of a run beside its source."""

    skip_invalid: bool
    no_wait: bool
    limit: int
    run_name: str
    """Of a run that several processes share; all of them give the same."""
    on: str
    """`"ray"`: the cluster of RAY_ADDRESS has workers of the run placed on its nodes."""
    workers: int
    """With `on`: how many."""
    progress: bool
    """Whether to show a bar; not given: in a notebook only."""
    on_event: Listener
    on_status: Callable[[RunStatus], None]


class Dataset(ProviderVerbs):
    """A folder of images and its ledger, or a dataset in PostgreSQL by its address.

    Nothing is held open between calls; `async with` makes sure that the folder is there.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = dataset_at(checked_path("out", path))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The dataset at *path*, which need not exist yet."""
        return cls(path)

    @property
    def sync(self) -> SyncDataset:
        """The same verbs for code without `await`: `dataset.sync.repair()`."""
        return SyncDataset(self, self._folder)

    @property
    def path(self) -> Path:
        """Its folder; of a dataset in PostgreSQL, this machine's for what passes through."""
        return self._folder.root

    async def __aenter__(self) -> Self:
        self._folder.make()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def _repr_html_(self) -> str:
        return dataset_html(self._folder)

    def __repr__(self) -> str:
        return f"Dataset({self._folder.address!r})"

    async def run(
        self, source: ManifestInput | None = None, **options: Unpack[Options]
    ) -> RunSummary:
        """Make what *source* asks for; None: a sweep or manifest that the settings name.

        Raises `FluxbatchError` where the run is refused, before anything is spent, and `TypeError`
        for a keyword there is not. Cancelled, it leaves what runs at the provider; the next run
        adopts it.
        """
        options = cast("Options", checked_options("run", options, Options.__optional_keys__))
        call = None
        if "on" in options or "workers" in options:
            from fluxbatch.api.cluster_run import ClusterCall  # a tenth of an import's time

            call = ClusterCall.read(self._folder, checked_source(source), options)
        given = PythonInputs(source, cast("ShapeOptions", options))
        if call is not None:
            return self._shown(await call.result(given))
        listener = options.get("on_event")
        request = RunRequest(
            settings=given.settings,
            keys=given.keys(),
            folder=self._folder,
            manifest=await in_thread(partial(given.kept_manifest, self._folder)),
            skip_invalid=options.get("skip_invalid", False),
            no_wait=options.get("no_wait", False),
            limit=options.get("limit"),
            run_name=options.get("run_name"),
        )
        events = Events(logging_listener(request.keys), *([listener] if listener else []))
        settings, folder = given.settings, self._folder
        local = is_loopback(settings.provider.base_url)
        with progress_bar(options.get("progress"), options.get("on_status")) as on_status:
            run = partial(execute_run, request, on_status=on_status)
            work = partial(with_hooks, settings.hooks, folder, events, run)
            try:
                summary = await with_notifications(
                    settings.notify, folder.told_as, events, work, anywhere=local,
                    is_shared=folder.is_shared,
                )  # fmt: skip
            except ManifestError as exc:
                raise as_python_said(exc, are_rows=given.rows is not None) from None
        return self._shown(summary)

    def _shown(self, summary: RunSummary) -> RunSummary:
        """It shows itself in a notebook."""
        return replace(summary, html_view=partial(summary_html, self._folder))


class SyncDataset(SyncTwin[Dataset], DatasetVerbs):
    """Every verb of a `Dataset` as a plain method, also inside a running loop (a notebook).

    What is async there has a thread and a loop of its own here. Ctrl-C leaves at once, as a
    cancelled call does.
    """

    def __init__(self, dataset: Dataset, folder: Folder) -> None:
        super().__init__(dataset)
        self._folder = folder

    def __repr__(self) -> str:
        return f"{self._owner!r}.sync"

    run = twin(Dataset.run)
    reconcile = twin(Dataset.reconcile)
    repair = twin(Dataset.repair)
    recover = twin(Dataset.recover)
    reroll = twin(Dataset.reroll)
    cancel = twin(Dataset.cancel)
    prune_uploads = twin(Dataset.prune_uploads)
    rate = twin(Dataset.rate)
    undo_rating = twin(Dataset.undo_rating)
    costs = twin(Dataset.costs)
    push = twin(Dataset.push)

    @contextmanager
    def running(self) -> Iterator[SyncRunAtWork]:
        """The run that is at work, wherever it was begun; raises `ConfigError` where none is."""
        run = SyncRunAtWork(RunAtWork(self._folder))
        run.show()
        yield run


def run(
    source: ManifestInput | None = None, *, out: str | Path, **options: Unpack[Options]
) -> RunSummary:
    """`Dataset.run` for code without an event loop, or inside a running one (a notebook).

    The run has a thread and a loop of its own. Ctrl-C leaves at once; the next run takes up what
    was left at the provider.
    """

    checked = cast("Options", checked_options("run", options, Options.__optional_keys__))
    checked_source(source)

    async def call() -> RunSummary:
        if {"on", "workers"} & checked.keys():  # refused before a folder is made
            return await Dataset.open(out).run(source, **checked)
        async with Dataset.open(out) as dataset:
            return await dataset.run(source, **checked)

    return in_own_loop(call)
