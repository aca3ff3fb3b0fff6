"""The moment a create leaves: what a server receives, against what the client says."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import aiohttp
import anyio
import pytest

from fluxbatch.config.endpoints import Provider
from fluxbatch.errors import AmbiguousCreate, NotSent, RejectedRequest
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import (
    AiohttpTransport,
    ConnectionLost,
    HttpRequest,
    not_after,
    open_http_session,
    open_transport,
)
from tests.support.clients import client_of
from tests.support.raw_server import Conversation, raw_server

CREATED = b'{"status": "success", "predictionID": "p-1"}'


class StoppedClock:
    def __init__(self, boot_s: float) -> None:
        self.boot_s = boot_s

    def monotonic(self) -> float:
        return self.boot_s

    def now(self) -> Timestamp:
        return moment(self.boot_s)


def moment(boot_s: float, boot: str = "boot") -> Timestamp:
    return Timestamp(datetime(2026, 8, 1, tzinfo=UTC), boot, boot_s)


async def answering(conversation: Conversation) -> None:
    while await conversation.request():
        await conversation.answer(CREATED)


def post(url: str, **more: object) -> HttpRequest:
    return HttpRequest("POST", url, body=b'{"n": 1}', **more)  # type: ignore[arg-type]


async def test_a_create_that_is_late_sends_not_one_byte() -> None:
    """
    The check speaks after the connection stands, and the server receives nothing at all.
    """
    async with raw_server(answering) as server, client_of(server.url) as client:
        with pytest.raises(NotSent, match="later than it had to be sent"):
            await client.create("m", {}, before_send=not_after(StoppedClock(10.5), moment(10.0)))
        await anyio.sleep(0.02)
    assert len(server.conversations) == 1
    assert server.received == b""


async def test_a_create_whose_clock_has_begun_anew_sends_not_one_byte() -> None:
    """
    That of a shared ledger does so when the server's clock is set: nobody knows how late it is.
    """
    async with raw_server(answering) as server, client_of(server.url) as client:
        send_by = moment(1_000_000.0, "an earlier generation")
        with pytest.raises(NotSent, match="was set meanwhile"):
            await client.create("m", {}, before_send=not_after(StoppedClock(10.5), send_by))
    assert server.received == b""


async def test_a_late_create_on_a_pooled_connection_sends_nothing_either() -> None:
    """
    The second create finds the first one's connection open; still nothing more arrives.
    """
    async with raw_server(answering) as server, client_of(server.url) as client:
        await client.create("m", {})
        before = server.received
        with pytest.raises(NotSent):
            await client.create("m", {}, before_send=not_after(StoppedClock(10.5), moment(10.0)))
        await client.create("m", {})
    assert server.received.count(b"POST ") == 2
    assert server.received.startswith(before)


async def test_a_create_in_time_tells_that_it_left_before_the_server_has_it() -> None:
    """
    The window counts from this moment, so it may not come later than the bytes do.
    """
    order: list[str] = []

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        order.append("arrived")
        await conversation.answer(CREATED)

    async with raw_server(handler) as server, client_of(server.url) as client:
        before_send = not_after(StoppedClock(10.0), moment(10.0), lambda: order.append("left"))
        created = await client.create("m", {}, before_send=before_send)
    assert order == ["left", "arrived"]
    assert created.prediction_id == "p-1"


async def test_a_check_that_fails_by_itself_sends_nothing_and_is_not_hidden() -> None:
    """
    A bug in the caller's check surfaces as itself instead of as a network error.
    """

    def before_send() -> None:
        raise ZeroDivisionError

    async with raw_server(answering) as server, client_of(server.url) as client:
        with pytest.raises(ZeroDivisionError):
            await client.create("m", {}, before_send=before_send)
        await anyio.sleep(0.02)
    assert server.received == b""


async def test_a_create_is_never_sent_twice_over_a_connection_the_server_closed() -> None:
    """
    A pooled connection dies while the create is on it: aiohttp repeats GETs then, no POST.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(CREATED)
        await conversation.request()  # the second request of this connection is taken, and dropped

    async with raw_server(handler) as server, client_of(server.url) as client:
        await client.create("m", {"n": 1})
        with pytest.raises(AmbiguousCreate) as caught:
            await client.create("m", {"n": 2})
    assert server.received.count(b"POST ") == 2
    assert server.received.count(b'{"n":2}') == 1
    assert len(server.conversations) == 1
    assert caught.value.status is None


async def test_a_pooled_connection_closed_while_idle_is_not_used() -> None:
    """
    Its end is noticed first, so the create goes out once, on a new connection.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(CREATED)

    async with raw_server(handler) as server, client_of(server.url) as client:
        await client.create("m", {"n": 1})
        await anyio.sleep(0.05)
        await client.create("m", {"n": 2})
    assert server.received.count(b"POST ") == 2
    assert len(server.conversations) == 2


async def test_a_read_over_a_dead_pooled_connection_is_simply_repeated() -> None:
    """
    What costs nothing is worth asking again.
    """
    served = 0

    async def handler(conversation: Conversation) -> None:
        nonlocal served
        served += 1
        await conversation.request()
        await conversation.answer(b'{"status": "processing"}')
        if served == 1:
            await conversation.request()

    async with raw_server(handler) as server, client_of(server.url) as client:
        await client.get("p-1")  # type: ignore[arg-type]
        told = await client.get("p-1")  # type: ignore[arg-type]
    assert told.word == "processing"
    assert server.received.count(b"GET ") == 3


async def test_a_reset_after_the_create_arrived_is_ambiguous() -> None:
    """
    The bytes were taken; what became of them nobody knows.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        conversation.reset()

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(AmbiguousCreate):
            await client.create("m", {})
    assert server.received.count(b"POST ") == 1


async def test_a_create_without_an_answer_in_time_is_ambiguous() -> None:
    """
    The timeout is the provider's to explain, later, in its listing.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await anyio.sleep(5)

    async with raw_server(handler) as server, client_of(server.url, timeout=0.1) as client:
        with pytest.raises(AmbiguousCreate, match=r"no answer within 0\.1 s"):
            await client.create("m", {})
    assert server.received.count(b"POST ") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + CREATED,
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"sta\r\n',
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
    ids=["short body", "open chunk", "half a status line", "no http", "false gzip"],
)
async def test_a_create_with_a_broken_answer_is_ambiguous(answer: bytes) -> None:
    """
    Whatever cannot be read completely may stand for an accepted create.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(answer)

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(AmbiguousCreate):
            await client.create("m", {})
    assert server.received.count(b"POST ") == 1


async def test_a_create_with_an_endless_answer_is_ambiguous() -> None:
    """
    The body is read to a cap, not into all of the memory.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n")
        while True:
            await conversation.send(b" " * 1_000_000)

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(AmbiguousCreate, match="exceeds 10,000,000 bytes"):
            await client.create("m", {})


async def test_a_refusal_whose_explanation_breaks_off_is_still_a_refusal() -> None:
    """
    A status line of 400 decides; nothing was created.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 90\r\n\r\n{"mess')

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(RejectedRequest) as caught:
            await client.create("m", {})
    assert caught.value.status == 400


async def test_without_a_connection_nothing_was_sent() -> None:
    """
    Refused: free to try again.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client_of(f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            with pytest.raises(NotSent, match="not sent") as caught:
                await client.create("m", {})
    assert caught.value.request_id


async def test_without_a_name_nothing_was_sent() -> None:
    """
    Name resolution failed: free to try again.
    """
    async with client_of("https://no-such-host.invalid/v1") as client:
        with pytest.raises(NotSent):
            await client.create("m", {})


async def test_without_tls_nothing_was_sent() -> None:
    """
    A handshake that fails carries no request, and the failure carries no key.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.stream.receive(1)
        await conversation.send(b"this is no TLS\r\n\r\n")

    async with (
        raw_server(handler) as server,
        client_of(f"https://127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(NotSent):
            await client.create("m", {})
    assert b"POST" not in server.received


async def test_a_session_of_another_make_is_refused_before_anything_is_sent() -> None:
    """
    Without `LeavingRequest` nobody would ask before writing.
    """
    async with raw_server(answering) as server, aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session, timeout_s=1.0, proxy_for=lambda url: None)
        with pytest.raises(TypeError, match="open_http_session"):
            await transport.send(post(server.url))
    assert server.received == b""


async def test_the_transport_knows_how_far_a_dropped_answer_came() -> None:
    """
    The status of a broken answer is kept, for those who can use it.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 503 Oops\r\nContent-Length: 90\r\n\r\nx")

    async with raw_server(handler) as server, open_transport(Provider()) as transport:
        with pytest.raises(ConnectionLost) as caught:
            await transport.send(post(server.url))
    assert caught.value.status == 503


async def test_a_redirect_is_not_followed() -> None:
    """
    A redirect of an API call comes back as it is: the key goes nowhere else.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(head="307 Temporary Redirect", more=f"Location: {other.url}/\r\n")

    async with (
        raw_server(answering) as other,
        raw_server(handler) as server,
        open_transport(Provider()) as transport,
    ):
        response = await transport.send(post(server.url))
    assert response.status == 307
    assert other.conversations == []


async def test_an_escaped_url_arrives_as_it_was_given() -> None:
    """
    The signature of a presigned URL covers its spelling.
    """
    path = "/a%2Fb/c%20d?X-Sig=a%2Bb%2F%3D&x=%7E"

    async with raw_server(answering) as server, open_http_session() as session:
        transport = AiohttpTransport(session, timeout_s=1.0, proxy_for=lambda url: None)
        await transport.send(post(server.url + path))
    assert f"POST {path} HTTP/1.1".encode() in server.received
