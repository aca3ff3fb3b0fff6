"""Notifications of a run: a healthcheck's pings, and a message at the end.

Owns what leaves for `notify.healthcheck` and `notify.url`, and that it never matters to the
run: a few bounded tries, then a note. The addresses are secrets: they are told to nobody. One that
stands in a config may be a stranger's, and leads to the public internet only; one that the
environment holds is the user's own, and may be anywhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import anyio

from fluxbatch._version import __version__
from fluxbatch.config.endpoints import Notify
from fluxbatch.config.proxies import ProxyFor, UnusableProxy, environment_proxies
from fluxbatch.domain.money import as_usd
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError, HeldElsewhere
from fluxbatch.events import Events, Noticed
from fluxbatch.infra.connections import PublicConnections
from fluxbatch.infra.ssrf_guard import Forbidden

RunOutcome = Literal["done", "stopped", "failed"]

_TRIES = 3
_TRY_S = 10.0
_PAUSE_S = 1.0
_CONNECTIONS = 4
_PRIVATE = "it leads to a private address; put it in the environment and write env:NAME"
_OUTCOMES: dict[ExitCode, RunOutcome] = {
    ExitCode.DONE: "done",
    ExitCode.STOPPED: "stopped",
    ExitCode.INTERRUPTED: "stopped",
    ExitCode.TERMINATED: "stopped",
}
_HEALTHY = frozenset({ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.STOPPED})
"""The run did what it was there for; jobs that failed are the message's to tell."""


async def with_notifications(
    notify: Notify,
    dataset: str,
    events: Events,
    work: Callable[[], Awaitable[RunSummary]],
    *,
    anywhere: bool = False,
    is_shared: bool = False,
) -> RunSummary:
    """Do *work*, and tell of its start and its end, however it ends.

    *anywhere*: any address may be a private one, as for a provider on this machine. *is_shared*:
    others may work on the run, which goes on where this process is refused, and then tells nothing.
    Raises what *work* raises, and `ConfigError` where an address cannot be found.
    """
    if notify.url is None and notify.healthcheck is None:
        return await work()
    message, ping = _address(notify.url, "notify.url"), _address(
        notify.healthcheck, "notify.healthcheck"
    )  # fmt: skip
    pairs = ((notify.url, message), (notify.healthcheck, ping))
    own = [url for given, url in pairs if given and url and (anywhere or _is_env(given))]
    async with _messenger(events, own) as messenger:
        if ping is not None:
            await messenger.ping(f"{ping}/start")
        try:
            summary = await work()
        except FluxbatchError as exc:
            goes_on = is_shared and isinstance(exc, HeldElsewhere)
            if ping is not None and not goes_on:
                await messenger.ping(f"{ping}/fail")
            if message is not None and "failed" in notify.when and not goes_on:
                await messenger.post(message, _refused(dataset, exc))
            raise
        if ping is not None and summary.is_last:
            await messenger.ping(ping if summary.exit_code in _HEALTHY else f"{ping}/fail")
        if message is not None and summary.is_last and outcome_of(summary.exit_code) in notify.when:
            await messenger.post(message, _ended(dataset, summary))
        return summary


def outcome_of(code: ExitCode) -> RunOutcome:
    """What kind of end an exit code is."""
    return _OUTCOMES.get(code, "failed")


def _ended(dataset: str, summary: RunSummary) -> dict[str, Any]:
    jobs = summary.as_json()["jobs"]
    assert isinstance(jobs, dict)
    outcome = outcome_of(summary.exit_code)
    text = (
        f"fluxbatch {outcome}: {jobs['done']:,} of {jobs['total']:,} jobs done,"
        f" {jobs['failed']:,} failed, ${as_usd(summary.run.spent)} this run ({dataset})"
    )
    if summary.reason and summary.exit_code is not ExitCode.DONE:
        text = f"{text}: {summary.reason}"
    more = {"outcome": outcome, "dataset": dataset, "reason": summary.reason}
    return {"text": text, **more, **summary.as_json()}


def _refused(dataset: str, exc: FluxbatchError) -> dict[str, Any]:
    return {
        "text": f"fluxbatch failed: {exc} ({dataset})",
        "outcome": "failed",
        "dataset": dataset,
        "reason": str(exc),
        "exit": int(exc.exit_code),
    }


def _is_env(given: str) -> bool:
    return given.startswith("env:")


def _address(given: str | None, setting: str) -> str | None:
    if given is None or not _is_env(given):
        return given and given.rstrip("/")
    name = given.removeprefix("env:")
    if not (found := os.environ.get(name, "").strip()):
        raise ConfigError(f"{setting}: the environment has no {name}")
    if not found.startswith(("https://", "http://")):
        raise ConfigError(f"{setting}: {name} holds no http(s) address")
    return found.rstrip("/")


@asynccontextmanager
async def _messenger(events: Events, own: Collection[str]) -> AsyncIterator[_Messenger]:
    """*own* are the user's own addresses: they may be anywhere, and where they redirect to not."""
    timeout = aiohttp.ClientTimeout(total=_TRY_S)
    headers = {"User-Agent": f"fluxbatch/{__version__}"}
    public, proxy_for = PublicConnections(), environment_proxies()
    for url in own:
        public.trust(url)
    async with aiohttp.ClientSession(
        connector=public.connector(limit=_CONNECTIONS), timeout=timeout, headers=headers
    ) as session:
        yield _Messenger(session, events, public, proxy_for)


class _Messenger:
    """Sends, and says so where it cannot; never raises, and never quotes an address."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        events: Events,
        public: PublicConnections,
        proxy_for: ProxyFor,
    ) -> None:
        self._session = session
        self._events = events
        self._public = public
        self._proxy_for = proxy_for

    async def ping(self, url: str) -> None:
        await self._send("GET", url, None, "notify.healthcheck")

    async def post(self, url: str, message: dict[str, Any]) -> None:
        await self._send("POST", url, message, "notify.url")

    async def _send(
        self, method: str, url: str, message: dict[str, Any] | None, setting: str
    ) -> None:
        failure = ""
        for number in range(_TRIES):
            if number:
                await anyio.sleep(_PAUSE_S)
            try:
                self._public.refuse(url)
                if (proxy := self._proxy_for(url)) is not None:
                    self._public.trust(proxy)
                async with self._session.request(method, url, json=message, proxy=proxy) as answer:
                    if answer.status < 300:
                        return
                    failure = f"it answered {answer.status}"
                    if answer.status < 500 and answer.status != 429:
                        break
            except UnusableProxy as exc:
                failure = str(exc)
                break
            except TimeoutError:
                failure = f"no answer within {_TRY_S:g} s"
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                failure = type(exc).__name__  # its words would quote the address
                if isinstance(getattr(exc, "os_error", exc), Forbidden):
                    failure = _PRIVATE
                    break
        self._events.emit(Noticed(f"{setting} could not be told: {failure}"))
