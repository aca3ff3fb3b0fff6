"""The common entry of the maintenance verbs: their request, their run, their output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from fluxbatch.cli.console import Console
from fluxbatch.cli.source import hide_keys
from fluxbatch.config.api_keys import keys_for
from fluxbatch.config.loading import environment
from fluxbatch.config.types import seconds
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.events import Event, Events, JobFailed, LaneChanged, Noticed, Stopping
from fluxbatch.infra.runtime import loop_options
from fluxbatch.maintenance import DatasetRequest, saved_settings
from fluxbatch.maintenance.reports import MaintenanceReport

_R = TypeVar("_R", bound=MaintenanceReport)


def maintain(
    console: Console,
    folder: Path,
    base_url: str,
    verb: Callable[..., Awaitable[_R]],
    lines: Callable[[_R, Folder], Iterator[str]],
    *,
    needs_key: bool = True,
) -> int:
    """Run the verb on a dataset until it ends or a signal comes; answers the exit code."""
    request = maintenance_request(console, folder, base_url, needs_key=needs_key)
    verb = partial(verb, request, handle_signals=True)
    return run_maintenance(console, verb, lambda report: lines(report, request.folder))


def maintenance_request(
    console: Console, folder: Path, base_url: str, *, needs_key: bool = True
) -> DatasetRequest:
    """The dataset, the keys, and the provider as its latest run was configured."""
    dataset = dataset_at(folder)
    environ = environment()
    flags = {"provider": {"base_url": base_url}} if base_url else {}
    settings = saved_settings(dataset, flags, environ)
    try:
        keys = keys_for(settings, environ)
        hide_keys(console, keys, environ)
    except ConfigError as exc:
        if needs_key:
            raise
        keys = []
        console.info(f"note: {exc}; files are checked, and none is fetched")
    return DatasetRequest(settings, tuple(keys), dataset)


def run_maintenance(
    console: Console, verb: Callable[[Events], Awaitable[_R]], lines: Callable[[_R], Iterator[str]]
) -> int:
    """Run the verb and print its report; answers the exit code."""
    events = Events(partial(_hear, console))
    report = anyio.run(partial(verb, events), backend_options=loop_options())
    console.answer(report.as_json, lines(report))
    return int(report.ended()[0])


def wait_s(text: str) -> float:
    """Read `--wait`; raise `ConfigError`."""
    try:
        value: Any = seconds(text)
    except ValueError as exc:
        raise ConfigError(f"--wait: {exc}") from None
    return float(value)


def _hear(console: Console, event: Event) -> None:
    if isinstance(event, Noticed | LaneChanged):
        console.warn(f"note: {event.message if isinstance(event, Noticed) else event.reason}")
    elif isinstance(event, Stopping):
        console.info(f"leaving off: {event.reason}")
    elif isinstance(event, JobFailed):
        console.info(f"job {event.job[:8]} failed ({event.failure}): {event.reason}")
    elif console.verbose:
        console.info(repr(event))
