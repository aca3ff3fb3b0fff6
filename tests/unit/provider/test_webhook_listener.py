"""The listener's sockets under whatever other programs send."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.abc
import pytest

from fluxbatch.provider import (
    Prediction,
    Status,
    WebhookAttempt,
    WebhookReceiver,
    WebhookUrls,
    webhook_listener,
)
from fluxbatch.provider.listener_connections import ConnectionBounds
from fluxbatch.provider.webhook_urls import MAX_WEBHOOK_BYTES

NAMES = WebhookUrls(b"k" * 32)
ATTEMPT = WebhookAttempt(1, 2)
ADDRESS = NAMES.address(ATTEMPT)
BODY = json.dumps({"exec_id": "p-1", "status": "succeeded", "output": "https://o.example/1"})


@dataclass
class Ear:
    """A listener, and what it let through."""

    port: int = 0
    heard: list[Prediction | None] = field(default_factory=list)

    async def tell(self, request: bytes, *, wait_s: float = 5.0) -> bytes:
        """What is answered to *request* until the connection is closed, or for so long."""
        answer = b""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            with suppress(anyio.BrokenResourceError):
                await stream.send(request)
            with (
                anyio.move_on_after(wait_s),
                suppress(anyio.EndOfStream, anyio.BrokenResourceError),
            ):
                while True:
                    answer += await stream.receive()
        return answer


@asynccontextmanager
async def ear(bounds: ConnectionBounds = ConnectionBounds()) -> AsyncIterator[Ear]:  # noqa: B008
    one = Ear()
    receiver = WebhookReceiver(NAMES, lambda _, said: one.heard.append(said))
    async with webhook_listener.listening(receiver, "127.0.0.1", 0, bounds) as one.port:
        yield one


def post(
    body: bytes = BODY.encode(),
    *,
    url: str = ADDRESS.url,
    secret: str = ADDRESS.secret,
    length: int | None = None,
    more: str = "Connection: close\r\n",
) -> bytes:
    size = len(body) if length is None else length
    head = (
        f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: hooks.example.org\r\n"
        f"X-Webhook-Secret: {secret}\r\n{more}"
    )
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_delivery_is_answered_in_milliseconds_and_handed_on() -> None:
    """
    Also when whoever hears it takes no time to look at it: nothing is awaited before the answer.
    """
    async with ear() as one:
        await one.tell(post())
        began = time.monotonic()
        answer = await one.tell(post())
        took_s = time.monotonic() - began

    assert status(answer) == 200
    assert took_s < 0.25
    first, second = one.heard
    assert first == second
    assert first is not None
    assert (first.prediction_id, first.status) == ("p-1", Status.SUCCEEDED)


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (post(url=ADDRESS.url[:-1]), 404),
        (post(url=NAMES.address(WebhookAttempt(2, 2)).url), 403),
        (post(secret="guess"), 403),
        (post(secret=""), 403),
        (post().replace(b"POST", b"GET", 1), 405),
        (post().replace(b"POST", b"DELETE", 1), 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /favicon.ico HTTP/1.0\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 30 + b"\r\n\r\n", 400),
        (b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /\xff\xfe HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_everybody_else_is_refused_and_heard_of_by_nobody(
    request_: bytes, refused: int
) -> None:
    """
    Forged paths and words, other methods, other protocols; and the next delivery gets through.
    """
    async with ear() as one:
        answer = await one.tell(request_, wait_s=3.0)
        assert one.heard == []
        assert status(answer) == refused
        assert status(await one.tell(post())) == 200


@pytest.mark.parametrize("told_length", [True, False], ids=["announced", "without an end"])
async def test_a_body_without_end_is_cut_and_hints_at_an_end_all_the_same(
    told_length: bool,
) -> None:
    """
    Not one byte more than the cap is kept of it.
    """
    huge = b"x" * (MAX_WEBHOOK_BYTES + 1)
    if told_length:
        request = post(length=10**12)
    else:
        chunks = b"%x\r\n%b\r\n" % (len(huge), huge)
        request = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks
    async with ear() as one:
        answer = await one.tell(request)

    assert status(answer) == 413
    assert one.heard == [None]


async def test_a_slow_body_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Half a body and silence: after its time it is given up, while others are served.
    """
    monkeypatch.setattr(webhook_listener, "_BODY_S", 0.2)
    async with ear() as one, anyio.create_task_group() as group:
        group.start_soon(one.tell, post(BODY.encode()[:9], length=len(BODY)))
        assert status(await one.tell(post())) == 200
    assert one.heard[0] is not None
    assert one.heard[1] is None


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """
    Before its first request, amid its head, and after one.
    """
    async with ear(ConnectionBounds(head_s=0.2, idle_s=0.2)) as one:
        for start in (b"", b"POST /x HTT", post(more="")):
            began = time.monotonic()
            await one.tell(start)
            assert time.monotonic() - began < 3.0


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff" * 99, b"[" * 50_000, b"{}"])
async def test_garbage_at_the_right_door_is_told_as_unreadable(body: bytes) -> None:
    """
    The provider need not send it again: what it meant is found by asking.
    """
    async with ear() as one:
        assert status(await one.tell(post(body))) == 200
    assert one.heard == [None]


async def test_compressed_bodies_are_not_opened() -> None:
    """
    They could hold anything, of any size.
    """
    async with ear() as one:
        answer = await one.tell(post(more="Connection: close\r\nContent-Encoding: gzip\r\n"))

    assert status(answer) == 200
    assert len(one.heard) == 1


async def test_nothing_of_a_request_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """
    Paths are secrets, and what strangers send is nobody's business.
    """
    caplog.set_level(logging.DEBUG)
    async with ear() as one:
        for request in (post(), post(secret="guess"), b"POST / HTTP/1.1\r\nA\r\n\r\n", b"\x00\r\n"):
            await one.tell(request, wait_s=1.0)

    assert ADDRESS.secret not in caplog.text
    assert urlsplit(ADDRESS.url).path not in caplog.text
    assert "aiohttp" not in {record.name.partition(".")[0] for record in caplog.records}


async def test_a_port_in_use_is_an_error_of_the_system() -> None:
    """
    Whoever opened it says what becomes of that.
    """
    async with ear() as one:
        with pytest.raises(OSError, match="in use"):
            async with webhook_listener.listening(
                WebhookReceiver(NAMES, lambda *_: None), "127.0.0.1", one.port
            ):
                pass


async def test_it_closes_at_once_though_connections_are_open() -> None:
    """
    A proxy's idle connection and a stranger's half a request hold up no end of a run.
    """
    streams = []
    began = 0.0
    async with ear() as one:
        for start in (post(more=""), post(b"{", length=9)):
            stream = await anyio.connect_tcp("127.0.0.1", one.port)
            streams.append(stream)
            await stream.send(start)
        while not one.heard:
            await anyio.lowlevel.checkpoint()
        began = time.monotonic()
    assert time.monotonic() - began < 3.0
    for stream in streams:
        await stream.aclose()


SOON = ConnectionBounds(most=4, head_s=0.1)
HALF = b"POST /hooks HTTP/1.1\r\nHost: a\r\nX-Webhook-"


async def closed(stream: anyio.abc.ByteStream) -> None:
    """Until the other side has closed it."""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(10):
        while True:
            await stream.receive()


@pytest.mark.parametrize("sent", [b"", b"P", HALF, post()[:-1]])
async def test_a_request_that_does_not_come_whole_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nor is one that has not begun; nothing is answered, or that it is too late.
    """
    monkeypatch.setattr(webhook_listener, "_BODY_S", 0.1)
    async with ear(SOON) as one, await anyio.connect_tcp("127.0.0.1", one.port) as stream:
        if sent:
            await stream.send(sent)
        await closed(stream)
    assert one.heard in ([], [None])


async def test_a_second_request_that_does_not_come_whole_is_not_waited_for_either() -> None:
    """
    A connection that may stay open for long may not begin something and stop.
    """
    async with ear(SOON) as one, await anyio.connect_tcp("127.0.0.1", one.port) as stream:
        await stream.send(post(more=""))
        assert status(await stream.receive()) == 200
        await stream.send(HALF)
        await closed(stream)
    assert len(one.heard) == 1


def open_descriptors() -> int:
    """Of this process; 0 where that is not told."""
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


async def test_who_holds_connections_pushes_out_nobody_but_himself() -> None:
    """
    Three times as many as there may be, and a delivery comes through all the same.
    """
    most = ConnectionBounds().most
    async with ear() as one, AsyncExitStack() as held:
        for _ in range(3 * most):
            stream = await held.enter_async_context(await anyio.connect_tcp("127.0.0.1", one.port))
            with suppress(anyio.BrokenResourceError):
                await stream.send(HALF)
        answer = await one.tell(post())
        descriptors = open_descriptors()
    assert status(answer) == 200
    assert len(one.heard) == 1
    # Those this test holds itself, and no more at the listener than allowed.
    assert descriptors <= 4 * most + 100
