"""Downloads over real sockets, from servers that do everything wrong."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from fluxbatch.config.settings import SinkSettings as SinkSettings
from fluxbatch.infra.connections import PublicConnections, PublicResolver
from fluxbatch.infra.ssrf_guard import Forbidden, check_url, is_public
from fluxbatch.sink import DownloadFailed, DownloadPace, UrlExpired, open_fetcher
from fluxbatch.sink.download import Misled
from tests.support.raw_server import Conversation, Handler, RawServer, raw_server


async def fetched(
    url: str, *, allow_http: bool = True, pace: DownloadPace | None = None, **settings: object
) -> list[bytes]:
    blocks: list[bytes] = []

    async def take(block: bytes) -> None:
        blocks.append(block)

    sink = SinkSettings.model_validate(settings)
    async with open_fetcher(sink, allow_http=allow_http, pace=pace or DownloadPace()) as fetcher:
        await fetcher.fetch(url, take)
    return blocks


def sending(*parts: bytes) -> Handler:
    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        for part in parts:
            await conversation.send(part)

    return handler


@asynccontextmanager
async def serving(*parts: bytes) -> AsyncIterator[RawServer]:
    async with raw_server(sending(*parts)) as server:
        yield server


def whole(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_small_body_is_one_block_and_no_key_went_out() -> None:
    """
    And its address arrives exactly as given, signature and all.
    """
    async with serving(whole(b"image")) as server:
        assert await fetched(f"{server.url}/a%2Fb.png?X-Sig=a%2Bb%3D") == [b"image"]
    head = server.received.decode()
    assert head.startswith("GET /a%2Fb.png?X-Sig=a%2Bb%3D HTTP/1.1\r\n")
    assert "Accept-Encoding: identity" in head
    assert not {"x-api-key", "authorization", "cookie"} & {
        line.partition(":")[0].lower() for line in head.splitlines()
    }


async def test_a_large_body_comes_in_blocks_of_bounded_size() -> None:
    """
    Memory holds one block, whatever the size of the image.
    """
    body = bytes(range(256)) * 40_000
    async with serving(whole(body)) as server:
        blocks = await fetched(server.url)
    assert b"".join(blocks) == body
    assert [len(block) >= 4 * 1024 * 1024 for block in blocks] == [True, True, False]
    assert max(map(len, blocks)) < 5 * 1024 * 1024


async def test_a_body_without_a_length_is_read_to_its_end() -> None:
    """
    Chunked, or ended by closing: only decoding can tell whether the latter is whole.
    """
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nima\r\n2\r\nge\r\n0\r\n\r\n"
    )
    for answer in (chunked, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nimage"):
        async with serving(answer) as server:
            assert await fetched(server.url) == [b"image"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_an_expired_url_is_gone(status: int) -> None:
    """
    A fresh one is needed; trying this one again is pointless.
    """
    async with serving(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        with pytest.raises(UrlExpired, match=f"answered {status}"):
            await fetched(f"{server.url}/x?token=SECRET")


@pytest.mark.parametrize("status", [300, 304, 400, 429, 500, 503])
async def test_any_other_status_is_another_try(status: int) -> None:
    """
    Only a success has the file.
    """
    async with serving(f"HTTP/1.1 {status} Hm\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        with pytest.raises(DownloadFailed, match=f"answered {status}"):
            await fetched(server.url)


@pytest.mark.parametrize("status", [200, 201, 203, 206, 226])
@pytest.mark.parametrize("encoding", ["", "gzip", "aws-chunked", "utf-8", "binary", "identity"])
async def test_any_success_may_bring_the_file_whatever_it_calls_its_encoding(
    status: int, encoding: str
) -> None:
    """
    Stores hand back the header an upload once had; the bytes tell what they are.
    """
    head = f"HTTP/1.1 {status} OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 5\r\n\r\n"
    async with serving(head.encode() + b"image") as server:
        assert await fetched(server.url) == [b"image"]


@pytest.mark.parametrize(
    "place", ["ftp://a/b", "out/a.webp", "https://[broken/a", "https://h:99999/a"]
)
async def test_an_address_that_can_never_be_visited_is_told_apart(place: str) -> None:
    """
    Trying it again for minutes would bring nothing.
    """
    with pytest.raises(Misled):
        await fetched(place)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nimage",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nimage",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nimage",
        b"HTTP/1.1 200 OK\r\nContent-Length: pig\r\n\r\nimage",
        b"ICY 200 OK\r\n\r\n",
        b"",
    ],
    ids=["short", "open chunk", "bad chunk", "no length", "no http", "nothing"],
)
async def test_a_broken_answer_is_another_try(answer: bytes) -> None:
    """
    Whatever the server does to the wire ends as one kind of failure.
    """
    async with serving(answer) as server:
        with pytest.raises(DownloadFailed):
            await fetched(server.url)


async def test_more_bytes_than_allowed_end_the_download() -> None:
    """
    Before the first one where the length is told, else as soon as they are too many.
    """
    async with serving(whole(b"x" * 11)) as server:
        with pytest.raises(
            DownloadFailed, match=r"11 bytes, more than sink\.max_bytes allows \(10\)"
        ):
            await fetched(server.url, max_bytes=10)
    async with serving(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * 11) as server:
        with pytest.raises(DownloadFailed, match=r"sink\.max_bytes"):
            await fetched(server.url, max_bytes=10)


async def test_an_endless_drip_ends() -> None:
    """
    A server that sends a byte now and then holds nobody up.
    """

    async def dripping(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await conversation.send(b"x")
            await anyio.sleep(0.01)

    async with raw_server(dripping) as server:
        with pytest.raises(DownloadFailed, match="too slow"):
            await fetched(server.url, pace=DownloadPace(span_s=0.1, least_bytes=1000))


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_a_download_ends_in_time_whatever_happens(head: bytes) -> None:
    """
    Silence before the answer or in its middle.
    """

    async def silent(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(head)
        await anyio.sleep(5)

    async with raw_server(silent) as server:
        with pytest.raises(DownloadFailed, match=r"not finished within 0\.1 s"):
            await fetched(server.url, timeout=0.1)


def redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int) -> None:
    """
    Relative ones too.
    """

    async def handler(conversation: Conversation) -> None:
        asked = await conversation.request()
        there = asked.startswith(b"GET /there?q=1 ")
        await conversation.send(whole(b"image") if there else redirect("/there?q=1", status))

    async with raw_server(handler) as server:
        assert await fetched(f"{server.url}/here") == [b"image"]


async def test_a_redirect_loop_ends() -> None:
    """
    At its first repetition.
    """
    async with serving(redirect("/?token=SECRET")) as server:
        with pytest.raises(DownloadFailed, match=r"a redirect loop at 127\.0\.0\.1"):
            await fetched(f"{server.url}/?token=SECRET")
    assert len(server.conversations) == 1


async def test_redirects_without_end_end() -> None:
    """
    Five are followed, never the same place twice.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(redirect(f"/{len(server.conversations)}"))

    async with raw_server(handler) as server:
        with pytest.raises(DownloadFailed, match="more than 5 redirects"):
            await fetched(server.url)
    assert len(server.conversations) == 6


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example/a.png",
        "ftp://cdn.example/a.png",
        "file:///etc/passwd",
        "https:///a.png",
        "https://localhost/a",
        "https://x.localhost/a",
        "https://127.0.0.1/a",
        "https://10.0.0.8/a",
        "https://192.168.1.1/a",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/a",
        "https://0.0.0.0/a",
        "https://224.0.0.1/a",
        "https://[::1]/a",
        "https://[fe80::1%25eth0]/a",
        "https://[fd00::1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://[64:ff9b::7f00:1]/a",
        "https://[2002:7f00:1::]/a",
        "https://\uff11\uff12\uff17.0.0.1/a",
        "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/a",
        "https://127\u30020\uff0e0\uff611/a",
        "https://127.0.0.1./a",
        "https://127.1/a",
        "https://2130706433/a",
        "https://0x7f.1/a",
        "https://0177.0.0.1/a",
        "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/a",
        "https://localhost./a",
        "https://\uff11\uff10.1.2.3/a",
        "https://[broken/a",
        "https://h:99999/a",
    ],
)
def test_an_address_that_is_not_public_https_is_not_visited(url: str) -> None:
    """
    The metadata service of a cloud is one redirect away.
    """
    with pytest.raises(Forbidden):
        check_url(url, allow_http=False)


def test_public_addresses_are_visited() -> None:
    """
    By name, by number, and through the translation of IPv6-only networks.
    """
    for url in ("https://cdn.example/a", "https://1.1.1.1/a", "https://[2606:4700::1111]/a"):
        check_url(url, allow_http=False)
    assert is_public(ip_address("64:ff9b::101:101"))


async def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    """
    Each hop is looked at; here the first one already, being loopback and http.
    """
    async with serving(whole(b"secret")) as server:
        with pytest.raises(DownloadFailed, match="not https"):
            await fetched(server.url, allow_http=False)
    assert server.conversations == []


class FixedNames(AbstractResolver):
    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self.address, port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_stands_for_a_private_address_is_refused() -> None:
    """
    The addresses looked at are those connected to: a name cannot change its mind between.
    """
    connections = PublicConnections()
    guard = PublicResolver(FixedNames("10.1.2.3"), connections)
    with pytest.raises(Forbidden, match="private"):
        await guard.resolve("cdn.example", 443)
    connections.trust("http://proxy.corp:3128")
    assert (await guard.resolve("proxy.corp", 3128))[0]["host"] == "10.1.2.3"
    with pytest.raises(Forbidden, match="private"):
        await guard.resolve("proxy.corp", 443)
    public = PublicResolver(FixedNames("1.1.1.1"), connections)
    assert (await public.resolve("cdn.example", 443))[0]["host"] == "1.1.1.1"


async def test_a_name_that_leads_home_is_refused_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A public-looking name that the resolver places next door, through the whole client.
    """

    def next_door(host: str, port: int, *rest: object, **more: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", port))]

    monkeypatch.setattr(socket, "getaddrinfo", next_door)
    with pytest.raises(DownloadFailed, match=r"cdn\.example: it leads to a private address"):
        await fetched("https://cdn.example/a", allow_http=False)


async def test_numbers_in_disguise_lead_nowhere() -> None:
    """
    Short, octal and hexadecimal spellings of 127.0.0.1.
    """
    for host in ("127.1", "2130706433", "0x7f.1", "0177.0.0.1"):
        with pytest.raises(DownloadFailed):
            await fetched(f"https://{host}:9/a", allow_http=False)


async def test_without_a_server_it_is_another_try() -> None:
    """
    Refused.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1"):
            await fetched(f"http://127.0.0.1:{taken.getsockname()[1]}/a?token=SECRET")
