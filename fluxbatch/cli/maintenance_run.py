"""A verb that looks after a dataset: how it is asked for, run and told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio

from fluxbatch.cli.console import Talk
from fluxbatch.cli.source import Asked
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import environment
from fluxbatch.config.types import seconds
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.events import Event, Events, JobFailed, LaneChanged, Noticed, Stopping
from fluxbatch.infra.runtime import loop_options
from fluxbatch.maintenance import Request, remembered_settings


class Report(Protocol):
    """What every such verb answers."""

    def ended(self) -> tuple[ExitCode, str]: ...

    def as_json(self) -> dict[str, object]: ...


R = TypeVar("R", bound=Report)


def asked_about(talk: Talk, folder: Path, base_url: str, *, needs_key: bool = True) -> Request:
    """The dataset, the keys, and the provider as its latest run was told."""
    dataset = Folder(folder)
    environ = environment()
    flags = {"provider": {"base_url": base_url}} if base_url else {}
    settings = remembered_settings(dataset, flags, environ)
    try:
        keys = Asked(settings, None, environ).keys(talk)
    except ConfigError as exc:
        if needs_key:
            raise
        keys = list[ApiKey]()
        talk.say(f"note: {exc}; files are checked, and none is fetched")
    return Request(settings, tuple(keys), dataset)


def attended(
    talk: Talk, verb: Callable[[Events], Awaitable[R]], lines: Callable[[R], Iterator[str]]
) -> int:
    """Run the verb, tell its report; answers the exit code."""
    heard = Events(partial(_hear, talk))
    report = anyio.run(partial(verb, heard), backend_options=loop_options())
    if talk.json:
        talk.object(report.as_json())
    else:
        for line in lines(report):
            talk.data(line)
    return int(report.ended()[0])


def wait_s(text: str) -> float:
    """Read `--wait`; raise `ConfigError`."""
    try:
        value: Any = seconds(text)
    except ValueError as exc:
        raise ConfigError(f"--wait: {exc}") from None
    return float(value)


def _hear(talk: Talk, event: Event) -> None:
    if isinstance(event, Noticed | LaneChanged):
        talk.warn(f"note: {event.message if isinstance(event, Noticed) else event.reason}")
    elif isinstance(event, Stopping):
        talk.say(f"leaving off: {event.reason}")
    elif isinstance(event, JobFailed):
        talk.say(f"job {event.job[:8]} failed ({event.failure}): {event.reason}")
    elif talk.verbose:
        talk.say(repr(event))
