"""Addresses that strangers name: none of them leads behind our own door, however it is spelt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from fluxbatch.config.endpoints import Notify, Provider
from fluxbatch.config.settings import SinkSettings as SinkSettings
from fluxbatch.engine.notify import with_notifications
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ExitCode, NotSent
from fluxbatch.events import Event, Events, Noticed
from fluxbatch.infra.connections import PublicConnections
from fluxbatch.infra.ssrf_guard import (
    Forbidden,
    is_private_literal,
    literal_address,
    refuse_private,
)
from fluxbatch.provider import HttpRequest, open_transport
from fluxbatch.sink import DownloadFailed, open_fetcher
from tests.support.raw_server import Conversation, raw_server

_DIGITS = {
    "fullwidth": {ord(str(n)): 0xFF10 + n for n in range(10)},
    "circled": {ord("0"): 0x24EA, **{ord(str(n)): 0x245F + n for n in range(1, 10)}},
    "bold": {ord(str(n)): 0x1D7CE + n for n in range(10)},
    "superscript": dict(zip(map(ord, "0123456789"), map(ord, "⁰¹²³⁴⁵⁶⁷⁸⁹"), strict=True)),
}
_DOTS = (".", "\u3002", "\uff0e", "\uff61")


def spellings(address: IPv4Address) -> Iterable[str]:
    number, parts = int(address), str(address).split(".")
    yield str(address)
    yield f"{address}."
    yield str(number)
    yield hex(number)
    yield f"0{number:o}"
    yield f"{parts[0]}.{number & 0xFFFFFF}"
    yield ".".join(hex(int(part)) for part in parts)
    for digits in _DIGITS.values():
        yield str(address).translate(digits)
    for dot in _DOTS:
        yield str(address).replace(".", dot)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_every_spelling_of_a_number_is_that_number(address: IPv4Address) -> None:
    """
    What is not public in one spelling is public in none.
    """
    for text in spellings(address):
        assert literal_address(text) == address, text
        assert is_private_literal(text) is is_private_literal(str(address))


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_a_socket_is_made_for_a_public_address_only(address: object, port: int) -> None:
    """
    The last look: at the number that the system is about to connect to.
    """
    connections = PublicConnections()
    text = str(address)
    if is_private_literal(text):
        with pytest.raises(Forbidden):
            connections.judged("a.name", port, [text])
        connections.trust(f"http://[{text}]:{port}" if ":" in text else f"http://{text}:{port}")
    connections.judged(text, port, [text])


@pytest.mark.parametrize("host", ["cdn.example", "1.1.1.1", "2606:4700::1111", "\uff11.\uff11.1.1"])
def test_what_is_public_is_not_refused(host: str) -> None:
    """
    Names are for the resolver.
    """
    refuse_private(host)


Visit = Callable[[str], Awaitable[None]]


async def output(url: str) -> None:
    async def take(block: bytes) -> None:
        pytest.fail("nothing may come from there")

    async with open_fetcher(SinkSettings(), allow_http=False) as fetcher:
        with pytest.raises(DownloadFailed, match="it leads to"):
            await fetcher.fetch(url, take)


async def presigned(url: str) -> None:
    async with open_transport(Provider(base_url="https://api.provider.example/v1")) as transport:
        with pytest.raises(NotSent):
            await transport.send(HttpRequest("PUT", url, body=b"a photo", is_strangers=True))


async def notify(url: str) -> None:
    class Done(Exception):
        pass

    async def work() -> object:
        raise Done

    heard: list[Event] = []
    with pytest.raises(Done):
        await with_notifications(Notify(healthcheck=url), "d", Events(heard.append), work)  # type: ignore[arg-type]
    assert any("private address" in e.message for e in heard if isinstance(e, Noticed))


@pytest.mark.parametrize("visit", [output, presigned, notify])
@pytest.mark.parametrize("host", [*spellings(IPv4Address("127.0.0.1")), "localhost", "[::1]"])
async def test_nobody_behind_our_own_door_is_asked(visit: Visit, host: str) -> None:
    """
    With a provider on the internet, whatever names the address, and however.
    """

    async def answer(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(b"secret")

    async with raw_server(answer) as server:
        await visit(f"https://{host}:{server.port}/a.png")
    assert server.received == b""
    assert server.conversations == []


async def test_a_name_is_judged_at_the_socket_even_where_its_resolver_was_lied_to() -> None:
    """
    A pool that has been given a private number by whatever means does not connect to it.
    """

    async def answer(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(b"secret")

    async with raw_server(answer) as server:
        pool = PublicConnections().connector(limit=1)
        async with aiohttp.ClientSession(connector=pool) as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.get(URL(server.url))
    assert isinstance(caught.value.os_error, Forbidden)
    assert server.conversations == []


async def test_the_users_own_proxy_may_be_anywhere() -> None:
    """
    Its port and no other of the same machine.
    """

    async def answer(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(b"through")

    async with raw_server(answer) as server, raw_server(answer) as other:
        connections = PublicConnections()
        connections.trust(server.url)
        async with aiohttp.ClientSession(connector=connections.connector(limit=1)) as session:
            async with session.get("http://cdn.example/a", proxy=server.url) as got:
                assert await got.read() == b"through"
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(other.url)
    assert other.conversations == []


async def test_a_message_goes_to_this_machine_where_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    By the environment; what that address redirects to is a stranger's word again.
    """

    async def secret(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(b"secret")

    async with raw_server(secret) as inner:

        async def onward(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(head="302 Found", more=f"Location: {inner.url}\r\n")

        async with raw_server(onward) as server:
            monkeypatch.setenv("WHERE", server.url)
            heard: list[Event] = []

            async def work() -> RunSummary:
                raise KeyError(ExitCode.DONE)

            with pytest.raises(KeyError):
                await with_notifications(
                    Notify(healthcheck="env:WHERE"), "d", Events(heard.append), work
                )
            assert b"GET /start" in server.received
    assert inner.conversations == []
