"""The sink: from a URL to a verified file, each ending of a download."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import anyio
import pytest

from fluxbatch.config.settings import SinkSettings as SinkSettings
from fluxbatch.errors import SinkError
from fluxbatch.infra.runtime import Runtime, SystemClock
from fluxbatch.sink import (
    DownloadPace,
    Fetcher,
    LocalStore,
    OnBlock,
    OutputExpired,
    RejectedOutput,
    Sink,
    Stored,
    open_fetcher,
)
from tests.support.clients import CountedBlocking, runtime
from tests.support.pictures import picture
from tests.support.raw_server import Conversation, Handler, raw_server

PNG = picture("png")
SECRET = "?X-Amz-Signature=SECRET"


def whole(body: bytes, mime: str = "image/webp") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sending(answer: bytes) -> Handler:
    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(answer)

    return handler


@asynccontextmanager
async def sink_at(root: Path, **settings: object) -> AsyncIterator[Sink]:
    sink = SinkSettings.model_validate(settings)
    pace = DownloadPace(span_s=0.1, least_bytes=1000)
    async with open_fetcher(sink, allow_http=True, pace=pace) as fetcher:
        yield Sink(LocalStore(root), fetcher, sink, runtime())


async def stored_from(
    handler: Handler, root: Path, **settings: object
) -> Stored | OutputExpired | RejectedOutput:
    async with raw_server(handler) as server, sink_at(root, **settings) as sink:
        return await sink.store(f"{server.url}/out.webp{SECRET}", "ab/job-0")


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "gif"])
async def test_an_output_is_stored_under_what_it_is(tmp_path: Path, kind: str) -> None:
    """
    By its bytes: the name in the URL and the Content-Type both say webp.
    """
    body = picture(kind)
    stored = await stored_from(sending(whole(body)), tmp_path)
    assert isinstance(stored, Stored)
    assert stored.path == f"images/ab/job-0.{kind}"
    assert stored.sha256 == sha256(body).hexdigest()
    assert (stored.bytes, stored.width, stored.height) == (len(body), 24, 24)
    assert stored.mime == {"jpg": "image/jpeg"}.get(kind, f"image/{kind}")
    assert stored.verify_s > 0
    assert (tmp_path / stored.path).read_bytes() == body
    assert files(tmp_path) == [stored.path]


class Handed:
    """A fetcher without a network, as a simulation has one."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = blocks

    async def fetch(self, url: str, take: OnBlock) -> None:
        for block in self.blocks:
            await take(block)


def sink_over(
    fetcher: Fetcher, root: Path, to_thread: CountedBlocking | None = None, **settings: object
) -> Sink:
    seam = Runtime(SystemClock(), Random(1), to_thread or CountedBlocking())
    return Sink(LocalStore(root), fetcher, SinkSettings.model_validate(settings), seam)


async def test_an_ordinary_image_is_one_blocking_call(tmp_path: Path) -> None:
    """
    Verify, hash, write, sync and rename in a single hop to a thread.
    """
    to_thread = CountedBlocking()
    stored = await sink_over(Handed(PNG), tmp_path, to_thread).store("https://x/y", "a")
    assert isinstance(stored, Stored)
    assert to_thread.calls == 1


async def test_a_large_image_passes_through_a_temporary_file(tmp_path: Path) -> None:
    """
    In blocks; the same file, hash and verdict in the end.
    """
    blocks = [PNG[n : n + 500] for n in range(0, len(PNG), 500)]
    assert len(blocks) > 3
    stored = await sink_over(Handed(*blocks), tmp_path).store("https://x/y", "a")
    assert isinstance(stored, Stored)
    assert stored.sha256 == sha256(PNG).hexdigest()
    assert (tmp_path / stored.path).read_bytes() == PNG
    assert files(tmp_path) == ["images/a.png"]


async def test_a_large_image_that_is_broken_leaves_nothing(tmp_path: Path) -> None:
    """
    Its temporary file goes with it.
    """
    blocks = [PNG[:900], PNG[900:-20]]
    assert isinstance(
        await sink_over(Handed(*blocks), tmp_path).store("https://x/y", "a"), RejectedOutput
    )
    assert files(tmp_path) == []


async def test_the_same_output_again_replaces_its_file(tmp_path: Path) -> None:
    """
    As after a crash between the rename and the ledger's entry.
    """
    first = await sink_over(Handed(PNG), tmp_path).store("https://x/y", "a")
    again = await sink_over(Handed(PNG), tmp_path).store("https://x/y", "a")
    assert isinstance(first, Stored)
    assert isinstance(again, Stored)
    assert (first.path, first.sha256) == (again.path, again.sha256)
    assert files(tmp_path) == ["images/a.png"]


async def test_a_truncated_image_with_a_right_looking_length_is_broken(tmp_path: Path) -> None:
    """
    The length promised is the length that came; only decoding tells.
    """
    outcome = await stored_from(sending(whole(PNG[:-30])), tmp_path)
    assert isinstance(outcome, RejectedOutput)
    assert "png" in outcome.reason
    assert files(tmp_path) == []


BROKEN = {
    "short of its length": whole(PNG)[:-30],
    "html": whole(b"<html><body>Sign in</body></html>", "image/png"),
    "zero bytes": whole(b""),
    "wrong type": whole(b"%PDF-1.7 and so on", "image/png"),
    "json": whole(b'{"error": "expired"}'),
    "unavailable": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    "redirect loop": b"HTTP/1.1 302 Go\r\nLocation: /out.webp" + SECRET.encode() + b"\r\n\r\n",
    "redirect to another scheme": b"HTTP/1.1 302 Go\r\nLocation: file:///etc/passwd\r\n\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=list(BROKEN))
async def test_each_fault_of_a_download_is_broken_with_a_reason(
    tmp_path: Path, answer: bytes
) -> None:
    """
    Another try may do better; nothing is on the disk, and no token in the reason.
    """
    outcome = await stored_from(sending(answer), tmp_path)
    assert isinstance(outcome, RejectedOutput)
    assert outcome.reason
    assert "SECRET" not in outcome.reason
    assert files(tmp_path) == []


async def test_an_endless_drip_is_broken(tmp_path: Path) -> None:
    """
    Too slow for too long.
    """

    async def dripping(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await conversation.send(b"x")
            await anyio.sleep(0.01)

    outcome = await stored_from(dripping, tmp_path)
    assert isinstance(outcome, RejectedOutput)
    assert "too slow" in outcome.reason


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_an_expired_url_needs_a_fresh_one(tmp_path: Path, status: int) -> None:
    """
    Its token is not in the reason.
    """
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    outcome = await stored_from(sending(answer), tmp_path)
    assert outcome == OutputExpired(f"127.0.0.1 answered {status}")


async def test_more_pixels_than_allowed_are_broken(tmp_path: Path) -> None:
    """
    The setting is named, so that people can raise it.
    """
    outcome = await sink_over(Handed(PNG), tmp_path, max_pixels=100).store("https://x/y", "a")
    assert isinstance(outcome, RejectedOutput)
    assert "sink.max_pixels" in outcome.reason


async def test_a_disk_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    """
    A `SinkError`, not one more broken download.
    """
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(SinkError, match="images"):
        await sink_over(Handed(PNG), tmp_path).store("https://x/y", "a")
    assert files(tmp_path) == ["images"]


@pytest.mark.parametrize("stem", ["../a", "/a", ""])
async def test_an_unsafe_stem_is_refused_before_anything_is_fetched(
    tmp_path: Path, stem: str
) -> None:
    """
    A bug of the caller, at once.
    """

    class Unasked:
        async def fetch(self, url: str, take: OnBlock) -> None:
            raise AssertionError

    with pytest.raises(ValueError, match="no plain relative name"):
        await sink_over(Unasked(), tmp_path).store("https://x/y", stem)


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """
    Cancelled with two blocks on the disk already.
    """
    halfway = anyio.Event()

    class Endless:
        async def fetch(self, url: str, take: Callable[[bytes], Awaitable[None]]) -> None:
            for _ in range(3):
                await take(PNG[:100])
            halfway.set()
            await anyio.sleep_forever()

    async def store() -> None:
        await sink_over(Endless(), tmp_path).store("https://x/y", "a")

    async with anyio.create_task_group() as group:
        group.start_soon(store)
        await halfway.wait()
        assert len(files(tmp_path)) == 1
        group.cancel_scope.cancel()
    assert files(tmp_path) == []
