"""`Transport` and `Fetcher` without sockets: the same two failures, the same verdicts.

Owns the near end of the wire: connecting, leaving, waiting for the answer as long as the real
transport would, and the steps between at which a process may die.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from urllib.parse import urljoin

import anyio

from fluxbatch.config.settings import Settings
from fluxbatch.errors import NotSent
from fluxbatch.provider import HttpRequest, HttpResponse, WebhookReceiver
from fluxbatch.provider.transport import ConnectionLost
from fluxbatch.sink.download import DownloadFailed, OnBlock, UrlExpired
from fluxbatch.worker.run_control import AnswerCommand
from tests.simulation.life import Life
from tests.simulation.provider import Arrived, Letter, Provider

_CONNECT_S = 10.0
_GONE = (401, 403, 404, 410)
_MAX_REDIRECTS = 5
_SILENCE_S = 30.0
_PACE_S = 15.0


class SimTransport:
    """One process's way to the provider."""

    def __init__(
        self, life: Life, provider: Provider, random: Random, settings: Settings, badness: float
    ) -> None:
        self._life = life
        self._provider = provider
        self._random = random
        self._timeout_s = settings.provider.timeout
        self._badness = badness
        """How often connecting is slow or fails."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        self._life.step("wire: connect")
        total_s = self._timeout_s if request.timeout_s is None else request.timeout_s
        took_s = await self._connect(total_s)
        self._life.step("wire: leave")
        if request.before_send is not None:
            request.before_send()
        letter = self._provider.post(
            request.method, request.url, request.query, request.headers, request.body or b""
        )
        if self._random.random() < 0.3:  # a crash right here may take the bytes along
            self._life.on_death.append(letter.lose)
        self._life.step(f"wire: left {request.method}")
        if letter.lose in self._life.on_death:
            self._life.on_death.remove(letter.lose)
        return _response(await self._answer(letter, total_s - took_s), total_s)

    async def _connect(self, total_s: float) -> float:
        """Seconds it took; raises `NotSent`."""
        took_s = 0.0
        if self._random.random() < self._badness:
            took_s = self._random.choice((0.05, 0.5, 3.0, 6.0, 12.0))
        allowed_s = min(_CONNECT_S, total_s)
        if self._provider.is_down:
            await anyio.sleep(min(took_s, allowed_s))
            raise NotSent("ConnectionRefusedError: nobody listens")
        await anyio.sleep(min(took_s, allowed_s))
        if took_s > allowed_s:
            raise NotSent("connecting timed out")
        return took_s

    async def _answer(self, letter: Letter, wait_s: float) -> Arrived | None:
        with anyio.move_on_after(wait_s):
            await letter.answered.wait()
        self._life.step(f"wire: answered {letter.call.method}")
        return letter.answer


def _response(answer: Arrived | None, total_s: float) -> HttpResponse:
    if answer is None:
        raise ConnectionLost(f"no answer within {total_s:g} s")
    if answer.reply is None:
        raise ConnectionLost("ServerDisconnectedError: the connection died")
    reply = answer.reply
    headers = {name.lower(): value for name, value in reply.headers.items()}
    headers["content-type"] = reply.content_type
    if reply.fate.body_share < 1:
        raise ConnectionLost("ClientPayloadError: cut short", status=reply.status)
    return HttpResponse(reply.status, headers, answer.body)


class SimControl:
    """Somebody who sends one process commands of `fluxbatch ctl`."""

    def __init__(
        self,
        commands: Sequence[tuple[float, str, str]],
        sent: Callable[[str, str], None],
        answered: Callable[[str, str, Mapping[str, Any]], None],
    ) -> None:
        self._commands = commands
        self._sent = sent
        self._answered = answered

    @asynccontextmanager
    async def listen(self, answer: AnswerCommand) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            for command in self._commands:
                tasks.start_soon(self._send, answer, *command)
            yield
            tasks.cancel_scope.cancel()

    async def _send(self, answer: AnswerCommand, after_s: float, command: str, value: str) -> None:
        await anyio.sleep(after_s)
        self._sent(command, value)
        asked = {"command": command, "value": value, "reason": "why not"}
        if command == "add-key":
            asked |= {"key": value, "account": f"account-{value.split('-')[1]}"}
        self._answered(command, value, await answer(json.dumps(asked).encode()))


class SimListener:
    """One process's ear for webhooks."""

    def __init__(self, life: Life, provider: Provider) -> None:
        self._life = life
        self._provider = provider

    @asynccontextmanager
    async def listen(self, receiver: WebhookReceiver, host: str, port: int) -> AsyncIterator[int]:
        """Until the process closes it, or dies."""
        self._life.step("wire: listen")
        self._provider.receiver = receiver
        self._life.on_death.append(self._close)
        try:
            yield port
        finally:
            self._close()

    def _close(self) -> None:
        self._provider.receiver = None


class SimFetcher:
    """One process's downloads."""

    def __init__(self, life: Life, provider: Provider, random: Random, timeout_s: float) -> None:
        self._life = life
        self._provider = provider
        self._random = random
        self._timeout_s = timeout_s

    async def fetch(self, url: str, take: OnBlock) -> None:
        self._life.step("wire: fetch")
        try:
            with anyio.fail_after(self._timeout_s):
                await self._follow(url, take)
        except TimeoutError:
            raise DownloadFailed(f"not finished within {self._timeout_s:g} s") from None

    async def _follow(self, url: str, take: OnBlock) -> None:
        seen: set[str] = set()
        while True:
            if url in seen:
                raise DownloadFailed("a redirect loop")
            if len(seen) > _MAX_REDIRECTS:
                raise DownloadFailed(f"more than {_MAX_REDIRECTS} redirects")
            seen.add(url)
            onward = await self._visit(url, take)
            if onward is None:
                return
            url = onward

    async def _visit(self, url: str, take: OnBlock) -> str | None:
        if self._provider.is_down or not url.startswith("http://127.0.0.1:1/"):
            raise DownloadFailed("ClientConnectorError: cannot connect")
        letter = self._provider.post("GET", url, {}, {}, b"")
        with anyio.move_on_after(_SILENCE_S):
            await letter.answered.wait()
        self._life.step("wire: fetched")
        if letter.answer is None:
            raise DownloadFailed("no answer")
        reply, body = letter.answer
        if reply is None:
            raise DownloadFailed("ServerDisconnectedError")
        if reply.status in (301, 302, 303, 307, 308) and "Location" in reply.headers:
            return urljoin(url, reply.headers["Location"])
        if reply.status in _GONE:
            raise UrlExpired(f"answered {reply.status}")
        if reply.status != 200:
            raise DownloadFailed(f"answered {reply.status}")
        if reply.fate.ending == "drip":
            await anyio.sleep(_PACE_S)
            raise DownloadFailed("too slow")
        share = reply.fate.body_share
        await self._hand_over(body[: int(len(body) * share)], take)
        if share < 1:
            raise DownloadFailed("fewer bytes came than promised")
        return None

    async def _hand_over(self, body: bytes, take: OnBlock) -> None:
        """In one block, or two, as a large image would come."""
        cut = self._random.randrange(len(body)) if len(body) > 1 else 0
        for block in (body[:cut], body[cut:]) if self._random.random() < 0.3 else (body,):
            if block:
                await take(block)
                self._life.step("wire: block")
