"""One run on a cluster: its workers placed, one live screen of them all, and the run's own end.

Owns what is shown and which exit code it ends with. The run is the workers': this process reads
their ledger, and whenever it goes away they go on. Source: docs/guide/clusters.md "Ray".
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from fluxbatch._version import __version__
from fluxbatch.cli.batch_args import BatchArgs, following
from fluxbatch.cli.console import Console
from fluxbatch.cli.foreground_run import confirm_cost
from fluxbatch.cli.progress.progress import Progress, progress
from fluxbatch.cli.progress.watch import show_run
from fluxbatch.cli.render.run_summary import tell_summary
from fluxbatch.cli.render.text import count
from fluxbatch.cli.source import CommandSource
from fluxbatch.cluster.placed_worker import WorkerEnd
from fluxbatch.cluster.placement import Placement
from fluxbatch.cluster.ray_cluster import ray_cluster
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.placement.node_check import NodeQuestion
from fluxbatch.engine.placement.placed_run import Placed, PlacedRun
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.engine.shared_run import summary_of_ended
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError, LedgerError
from fluxbatch.ledger.sharing.shared_runs import ended_run
from fluxbatch.planning.plan import make_plan

_EVERY_S = 1.0
_WITH_VALUE = ("--on", "--workers")


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """The flags that say where, and those that do not go with them."""

    on: str
    workers: int | None
    name: str
    canary: int | None = None
    detach: bool = False
    yes: bool = False

    def check(self, source: Path, out: Path) -> SharedDataset:
        """The dataset; raises `ConfigError` naming the flag that is wrong or missing."""
        if self.on != "ray":
            given = f"--on {self.on!r}" if self.on else "--workers without --on"
            raise ConfigError(f"{given}: workers can be placed with --on ray alone")
        if self.workers is None:
            raise ConfigError("--on ray: say how many workers with --workers N")
        dataset = dataset_at(out)
        if not isinstance(dataset, SharedDataset):
            raise ConfigError(
                f"--on ray: {dataset.address!r} is a folder, which one process works on at a time;"
                " workers share a ledger in PostgreSQL (--out postgresql://HOST/DATABASE/NAME)"
            )
        if not self.name:
            raise ConfigError("--on ray: name the run (--run NAME), for its workers to find it")
        others = {"--canary": self.canary, "--detach": self.detach, "a manifest from stdin":
                  str(source) == "-"}  # fmt: skip
        if refused := [flag for flag, given in others.items() if given]:
            raise ConfigError(f"--on ray: not with {refused[0]}; the workers go on by themselves")
        return dataset


def run_on_cluster(
    console: Console, typed: BatchArgs, asked: CommandSource, wanted: ClusterRun
) -> int:
    """Place the workers of a run, or find them again, and show it to its end.

    Answers its exit code; 0 where the workers were only asked to leave.
    """
    assert typed.out is not None
    dataset = wanted.check(typed.given, typed.out)
    assert wanted.workers is not None
    where = ["--on", wanted.on, "--workers", str(wanted.workers)]
    again = typed.run_again(yes=wanted.yes, run_name=wanted.name, placed=where)
    anew = typed.run_again(yes=wanted.yes, run_name=following(wanted.name), placed=where)
    watched = RunOnCluster(console, dataset, wanted.name, again, anew)
    if (summary := watched.ended()) is not None:
        return watched.tell(summary)
    manifest = asked.manifest_in(dataset.root / "manifests")
    typed.check(lambda: make_plan(asked.settings, manifest, dataset, key=asked.any_key()))
    if wanted.workers and not wanted.yes and not confirm_cost(console, asked, manifest, dataset):
        raise typer.Abort
    question = NodeQuestion(
        version=__version__,
        cwd=str(Path.cwd()),
        given=str(typed.given),
        source=str(typed.source),
        flags=asked.flags,
        out=str(typed.out),
    )
    with ray_cluster() as cluster:
        run = PlacedRun(cluster, dataset, wanted.name, worker_words(console.argv), question)
        try:
            placed = run.have(wanted.workers)
        except ConfigError:
            if (summary := watched.ended()) is not None:  # meanwhile
                return watched.tell(summary)
            raise
        for line in _placed_lines(placed):
            console.info(line)
        if not wanted.workers:
            run.until_left()
            console.info("the workers have left; with another number --workers goes on")
            return 0
        try:
            return watched.until_ended(run.placement, f"fluxbatch  {typed.given} → {dataset.name}")
        except KeyboardInterrupt:
            console.info(
                "no longer watching; the run goes on. The same command shows it again, and"
                " --workers 0 has its workers leave"
            )
            return int(ExitCode.INTERRUPTED)


def _exit_of(end: WorkerEnd) -> int:
    """Told to leave before it could hear it, a process is ended by the signal itself."""
    if end.code == -signal.SIGINT:
        return ExitCode.INTERRUPTED
    return end.code if end.code > 0 else ExitCode.ERROR


def worker_words(argv: Sequence[str]) -> list[str]:
    """The command line of a worker: the same without where it is placed; nobody can be asked."""
    words, is_value = [], False
    for word in argv:
        if is_value:
            is_value = False
        elif word in _WITH_VALUE:
            is_value = True
        elif word.partition("=")[0] not in _WITH_VALUE:
            words.append(word)
    has_yes = {"-y", "--yes"} & set(words)
    return words if has_yes else [words[0], "--yes", *words[1:]]


def _placed_lines(placed: Placed) -> Iterator[str]:
    if not any(placed):
        yield "no worker of this run is on the cluster"
    if placed.told_to_leave:
        yield f"{count(placed.told_to_leave, 'worker')} of this run told to leave"
    if placed.found:
        lost = f"; {placed.nowhere} of them lost, until a node has room" if placed.nowhere else ""
        yield f"{count(placed.found, 'worker')} of this run found{lost}"
    if placed.new:
        yield f"{count(placed.new, 'worker')} placed"


@dataclass(slots=True)
class RunOnCluster:
    """One run, as this process sees it."""

    console: Console
    dataset: SharedDataset
    name: str
    again: str
    anew: str
    began_s: float = field(default_factory=time.monotonic)
    _told: dict[int, WorkerEnd] = field(default_factory=dict)
    _is_silent: bool = False
    """The database did not answer the last time."""

    def ended(self, shown: Progress | None = None) -> RunSummary | None:
        """The run's end; else where it stands is shown, if that is wanted."""
        try:
            if not self.dataset.has_ledger():
                return None
            with self.dataset.reader() as db:
                if (ended := ended_run(db, self.name)) is not None:
                    return summary_of_ended(db, ended, time.monotonic() - self.began_s)
                if shown is not None:
                    show_run(shown, self.dataset, db, named=self.name)
        except LedgerError as exc:
            if shown is None:
                raise
            if not self._is_silent:
                self.console.warn(f"note: {exc}; looking again")
            self._is_silent = True
            return None
        self._is_silent = False
        return None

    def tell(self, summary: RunSummary) -> int:
        """Say how the run ended; answers its exit code."""
        try:
            tell_summary(self.console, summary, self.dataset, self.again, anew=self.anew)
        except FluxbatchError as exc:
            self.console.warn(f"exit {int(summary.exit_code)}: {summary.reason}\n{exc}")
        if self.console.json:
            self.console.object(summary.as_json())
        return int(summary.exit_code)

    def until_ended(self, placement: Placement, title: str) -> int:
        """Show the run until it has ended, or no worker is left; answers the exit code."""
        with progress(self.console, title) as shown:
            while True:
                self._tell_ends(placement)
                # Asked after the workers: whoever ended it has written that down before.
                none_left = len(self._told) == len(placement.workers)
                summary = self.ended(shown)
                if summary is not None or (none_left and not self._is_silent):
                    break
                time.sleep(_EVERY_S)
        if summary is not None:
            return self.tell(summary)
        code = max(_exit_of(end) for end in self._told.values())
        first = "mend that first, then " if code == ExitCode.USAGE else ""
        return self.console.failed(
            f"no worker is left, and the run has not ended; {first}the same command goes on", code
        )

    def _tell_ends(self, placement: Placement) -> None:
        for number, end in placement.ends().items():
            if number not in self._told and _exit_of(end) == ExitCode.INTERRUPTED:
                self.console.info(f"worker {number} has left")
            elif number not in self._told and end.code:
                last = "".join(f"\n  {line}" for line in end.last_lines)
                self.console.warn(f"worker {number} has ended with exit {end.code}:{last}")
            self._told[number] = end
