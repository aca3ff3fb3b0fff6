"""A program's run on a Ray cluster: its workers placed, and waited for until the run has ended.

Owns which options go with it: each worker is a command on its node, so only what a command can be
told. The run is the workers'; whoever waits may go away. Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from fluxbatch._version import __version__
from fluxbatch.cluster.placed_worker import WorkerEnd
from fluxbatch.cluster.ray_cluster import ray_cluster
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.placement.node_check import NodeQuestion
from fluxbatch.engine.placement.placed_run import PlacedRun
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.shared_run import summary_of_ended
from fluxbatch.engine.source import BatchSource
from fluxbatch.errors import ConfigError, FluxbatchError, LedgerError
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.sharing.shared_runs import ended_run, left_run

_EVERY_S = 1.0
_LEFT = "the workers have left; the same call with another number of workers goes on"
_OF_EACH_NODE = ("keys", "settings", "model")
_OF_ONE_PROCESS = ("on_event", "on_status", "progress")
_FLAGS: Mapping[str, str] = {
    "run_name": "--run",
    "base_url": "--base-url",
    "budget": "--budget",
    "limit": "--limit",
    "skip_invalid": "--skip-invalid",
    "no_wait": "--no-wait",
}
"""Of a worker's command."""


@dataclass(slots=True)
class ClusterCall:
    """One call of `run` with `on="ray"`, checked; nothing is placed yet."""

    dataset: SharedDataset
    source: str
    options: Mapping[str, Any]
    began_s: float = field(default_factory=time.monotonic)

    @classmethod
    def read(cls, folder: Folder, source: object, options: Mapping[str, Any]) -> ClusterCall:
        """Raises `ConfigError` naming the option that is wrong, missing or does not go with it."""
        on, workers = options.get("on"), options.get("workers")
        if on != "ray":
            given = f"on={on!r}" if on else "workers without on"
            raise ConfigError(f"{given}: workers can be placed with on='ray' alone")
        if workers is None:
            raise ConfigError("on='ray': say how many workers with workers=N")
        if not isinstance(folder, SharedDataset):
            raise ConfigError(
                f"on='ray': {folder.address!r} is a folder, which one process works on at a time;"
                " workers share a ledger in PostgreSQL (out='postgresql://HOST/DATABASE/NAME')"
            )
        if not options.get("run_name"):
            raise ConfigError("on='ray': name the run (run_name=…), for its workers to find it")
        if not isinstance(source, str | os.PathLike) or os.fspath(source) == "-":
            raise ConfigError(
                "on='ray': give a manifest or config by its path; each node reads it there"
            )
        if elsewhere := [name for name in _OF_EACH_NODE if name in options]:
            raise ConfigError(
                f"on='ray': not with {elsewhere[0]}; each node has its own keys, and settings are"
                " in the config that all of them read"
            )
        if local := [name for name in _OF_ONE_PROCESS if options.get(name)]:
            raise ConfigError(f"on='ray': not with {local[0]}; the workers go on by themselves")
        return cls(folder, os.fspath(source), options)

    def words(self) -> list[str]:
        """The command of a worker; nobody can be asked there."""
        words = ["run", "--yes", self.source, "--out", self.dataset.address]
        for name, flag in _FLAGS.items():
            value = self.options.get(name)
            if value is True:
                words.append(flag)
            elif value is not None and value is not False:
                words += [flag, str(value)]
        return words

    async def result(self, given: BatchSource) -> RunSummary:
        """The end of the run, which its workers have brought about; *given*: what each reads.

        Raises `ConfigError` naming every node that lacks something, before anything is spent, and
        `FluxbatchError` where no worker is left and the run has not ended. Cancelled, the workers
        go on: the same call waits for them again. With no workers, those at work leave, and the
        summary says where the run stands then.
        """
        if (summary := await in_thread(self._ended)) is not None:
            return summary
        with ExitStack() as held:
            cluster = await in_thread(partial(held.enter_context, ray_cluster()))
            name, dataset = self.options["run_name"], self.dataset
            run = PlacedRun(cluster, dataset, name, self.words(), self._question(given))
            try:
                await in_thread(partial(run.have, self.options["workers"]))
            except ConfigError:
                if (summary := await in_thread(self._ended)) is not None:  # meanwhile
                    return summary
                raise
            if not self.options["workers"]:
                await in_thread(run.until_left)
                return await in_thread(self._left)
            return await self._until_ended(run)

    def _question(self, given: BatchSource) -> NodeQuestion:
        return NodeQuestion(
            version=__version__,
            cwd=str(Path.cwd()),
            given=self.source,
            source=self.source,
            flags=given.flags,
            out=self.dataset.address,
        )

    async def _until_ended(self, run: PlacedRun) -> RunSummary:
        ends: dict[int, WorkerEnd] = {}
        while True:
            ends |= await in_thread(run.placement.ends)
            # Asked after the workers: whoever ended it has written that down before.
            none_left = len(ends) == len(run.placement.workers)
            try:
                if (summary := await in_thread(self._ended)) is not None:
                    return summary
            except LedgerError:
                none_left = False  # the database does not answer, to the workers neither
            if none_left:
                last = [f"\n  {line}" for end in ends.values() for line in end.last_lines]
                told = "no worker is left, and the run has not ended; the same call goes on"
                raise FluxbatchError("".join([told, *last]))
            await anyio.sleep(_EVERY_S)

    def _left(self) -> RunSummary:
        """The run without workers: unless they ended it, it can go on."""
        if (summary := self._ended()) is not None:
            return summary
        name = self.options["run_name"]
        if self.dataset.has_ledger():
            with self.dataset.reader() as db:
                if (left := left_run(db, name, _LEFT)) is not None:
                    return summary_of_ended(db, left, time.monotonic() - self.began_s)
        raise ConfigError(f"workers=0: there is no run {name!r} in {self.dataset.address!r}")

    def _ended(self) -> RunSummary | None:
        if not self.dataset.has_ledger():
            return None
        with self.dataset.reader() as db:
            ended = ended_run(db, self.options["run_name"])
            if ended is None:
                return None
            return summary_of_ended(db, ended, time.monotonic() - self.began_s)
