"""Control images on plain http: fetched once, checked like files, and no further than allowed."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from fluxbatch.domain.job import Row
from fluxbatch.errors import BadRow
from fluxbatch.infra.runtime import in_thread
from fluxbatch.infra.ssrf_guard import Forbidden
from fluxbatch.manifest import Manifest
from fluxbatch.manifest.control_images import fetch as remote_module
from fluxbatch.manifest.control_images import http as web_module
from tests.support.raw_server import Conversation, RawServer, raw_server
from tests.unit.manifest.reading import CARD, line, write

pytestmark = pytest.mark.anyio


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


@dataclass
class Site:
    """What a server has, by path: the status and headers, and the body."""

    pages: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    server: RawServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def has(self, path: str, body: bytes, *, more: str = "", head: str = "200 OK") -> str:
        self.pages[path] = (head, more, body)
        return self.url + path


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()

    async def answer(conversation: Conversation) -> None:
        path = (await conversation.request()).split(b" ")[1].decode()
        made.asked.append(path)
        head, more, body = made.pages.get(path, ("404 Not Found", "", b""))
        await conversation.answer(body, head=head, more=more)

    async with raw_server(answer) as made.server:
        yield made


@dataclass
class Read:
    rows: list[Row]
    bad: list[BadRow]


async def read(folder: Path, *given: str, anywhere: bool = True) -> Read:
    """Every row of a manifest of *given*, with what is fetched in the folder `controls`."""
    found = Read([], [])
    path = write(folder, "".join(line(control_image=one, prompt=f"{n}") for n, one in
                                 enumerate(given)))  # fmt: skip

    def all_rows() -> None:
        manifest = Manifest.open(path, card=CARD, allow_http=anywhere, controls=folder / "controls")
        found.rows.extend(manifest.rows(found.bad.append))

    await in_thread(all_rows)
    return found


async def refusal(folder: Path, given: str, *, anywhere: bool = True) -> str:
    (bad,) = (await read(folder, given, anywhere=anywhere)).bad
    assert (bad.line, bad.field) == (1, "control_image")
    assert not list((folder / "controls").glob("*.part"))
    return bad.reason


async def test_an_image_on_plain_http_is_fetched_once_and_is_a_file_from_then_on(
    tmp_path: Path,
) -> None:
    """However many rows name it; the job is that of a local file with these bytes."""
    async with site() as web:
        url = web.has(
            "/deep/ä b.png?size=1".replace("ä b", "%C3%A4%20b"), png(), more="ETag: 1\r\n"
        )
        found = await read(tmp_path, *[url] * 1_000)

    assert not found.bad
    assert len(web.asked) == 1
    controls = {row.control for row in found.rows}
    (control,) = controls
    assert control is not None
    assert control.sha256 == hashlib.sha256(png()).hexdigest()
    (kept,) = (tmp_path / "controls").iterdir()
    assert control.path == str(kept)
    assert kept.read_bytes() == png()
    jobs = [row.job for row in found.rows if row.job is not None]
    assert {job.input["control_image"] for job in jobs} == {f"sha256:{control.sha256}"}


async def test_what_has_not_changed_is_asked_about_and_not_written_again(tmp_path: Path) -> None:
    """A new ETag is another content and so another job; a file that is gone or was tampered with
    is fetched again."""
    async with site() as web:
        url = web.has("/a.png", png(), more='ETag: "1"\r\n')
        ((first,), (kept,)) = (await read(tmp_path, url)).rows, (tmp_path / "controls").iterdir()
        inode = kept.stat().st_ino
        ((again,), same) = (await read(tmp_path, url)).rows, kept.stat().st_ino
        kept.write_bytes(b"\x89PNG\r\n\x1a\n".ljust(len(png()), b"?"))
        (mended,) = (await read(tmp_path, url)).rows
        kept.unlink()
        (fetched,) = (await read(tmp_path, url)).rows
        web.has("/a.png", png("blue"), more='ETag: "2"\r\n')
        (changed,) = (await read(tmp_path, url)).rows

    assert first.job is not None
    assert changed.job is not None
    assert same == inode
    assert first == again == mended == fetched
    assert changed.job.job_id != first.job.job_id
    assert len(list((tmp_path / "controls").iterdir())) == 2


async def test_a_server_that_tells_no_version_is_fetched_each_time(tmp_path: Path) -> None:
    """Nothing else could tell that the image has changed."""
    async with site() as web:
        url = web.has("/a.png", png())
        first = await read(tmp_path, url, url)
        web.has("/a.png", png("blue"))
        second = await read(tmp_path, url, url)

    assert len(web.asked) == 2
    assert first.rows[0].job != second.rows[0].job
    assert not second.bad


async def test_many_images_are_fetched_side_by_side(tmp_path: Path) -> None:
    """Each its own, whoever is answered first."""
    async with site() as web:
        urls = [
            web.has(f"/{n}.png", png(f"#0000{n:02x}"), more=f"ETag: {n}\r\n") for n in range(40)
        ]
        found = await read(tmp_path, *urls)

    hashes = [row.control.sha256 for row in found.rows if row.control is not None]
    assert hashes == [hashlib.sha256(png(f"#0000{n:02x}")).hexdigest() for n in range(40)]
    assert sorted(web.asked) == sorted(f"/{n}.png" for n in range(40))


@pytest.mark.parametrize(
    ("head", "more", "body", "said"),
    [
        ("404 Not Found", "", b"", "404 Not Found"),
        ("403 Forbidden", "", b"no", "403 Forbidden"),
        ("500 Oops", "", b"", "500 Internal Server Error"),
        ("200 OK", "", b"<html>sign in</html>", "is not a JPEG, PNG or WebP image"),
        ("200 OK", "", b"", "is an empty file"),
        ("200 OK", "", png()[:60], "is a broken image/png"),
        ("302 Found", "Location: ftp://example.org/a.png\r\n", b"", "no http address"),
        ("302 Found", "Location: file:///etc/passwd\r\n", b"", "302 Found"),
        ("302 Found", "Location: /a.png\r\n", b"", "302 Found"),
    ],
)
async def test_what_cannot_be_had_or_is_no_image_is_a_bad_row(
    tmp_path: Path, head: str, more: str, body: bytes, said: str
) -> None:
    """With the reason, and the address."""
    async with site() as web:
        reason = await refusal(tmp_path, web.has("/a.png", body, head=head, more=more))

    assert said in reason
    assert "/a.png" in reason


async def test_an_image_that_is_too_large_is_not_fetched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the server says so before, or never says."""
    monkeypatch.setattr(remote_module, "MAX_FETCHED_BYTES", 1_000)

    async def endless(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"\x89PNG\r\n\x1a\n")
        while True:
            await conversation.send(bytes(65_536))

    async with site() as web:
        assert "a control image may have" in await refusal(tmp_path, web.has("/a", bytes(1_001)))
    async with raw_server(endless) as server:
        assert "a control image may have" in await refusal(tmp_path, f"{server.url}/a.png")


async def test_an_answer_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """Half an image is never taken for a whole one."""

    async def half(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nETag: 1\r\n\r\n" + png()
        )

    async with raw_server(half) as server:
        assert "bytes came" in await refusal(tmp_path, f"{server.url}/a.png")

    assert not list((tmp_path / "controls").iterdir())


async def test_a_redirect_may_not_lead_behind_our_own_door(tmp_path: Path) -> None:
    """Nor may a row: a manifest may be a stranger's. With the provider on this machine all may."""
    async with site() as inner, site() as web:
        secret = inner.has("/a.png", png())
        own = web.has("/own.png", png())
        named = inner.url.replace("127.0.0.1", "localhost")
        hops = [
            web.has(f"/{n}", b"", head="302 Found", more=f"Location: {target}\r\n")
            for n, target in enumerate([own, f"{named}/a.png", "http://169.254.169.254/a.png"])
        ]
        rows = [*hops, own, secret, secret.replace("127.0.0.1", "\uff11\uff12\uff17.0.0.1")]
        said = [await refusal(tmp_path, given, anywhere=False) for given in rows]
        asked = [*inner.asked, *web.asked]
        trusting = await read(tmp_path, *hops[:2], secret, anywhere=True)

    assert all("it leads to this machine" in reason for reason in said)
    assert asked == []
    assert not trusting.bad


async def test_a_redirect_behind_our_own_door_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a public server as well; here one that the resolver alone takes for public."""
    looked_at: list[str] = []

    def refuse(host: str) -> None:
        looked_at.append(host)
        if host.startswith("169."):
            raise Forbidden("it leads to a private address")

    monkeypatch.setattr(web_module, "refuse_private", refuse)
    async with site() as web:
        more = "Location: http://169.254.169.254/a.png\r\n"
        said = await refusal(
            tmp_path, web.has("/a.png", b"", head="302 Found", more=more), anywhere=False
        )

    assert "it leads to a private address" in said
    assert looked_at[-1] == "169.254.169.254"


@pytest.mark.parametrize(
    "given",
    [
        "http://me:sly-7f3a@example.org/a.png",
        "s3://me:sly-7f3a@bucket/a.png",
        "http:///a.png",
        "http://example.org/",
        "s3://bucket",
        "s3://bucket//a.png",
        "s3://bucket/a//b.png",
        "s3://bucket/../b.png",
        "gs://bucket/",
        "http://[::1/a.png",
        "http://exa mple.org:x/a.png",
    ],
)
async def test_an_address_must_be_only_an_address(tmp_path: Path, given: str) -> None:
    """Nobody is asked, and what may be a secret is not repeated."""
    reason = await refusal(tmp_path, given)

    assert reason.startswith("cannot fetch ")
    assert "sly-7f3a" not in reason


async def test_a_server_that_is_silent_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Three times; the other rows say so at once."""
    async with site() as web:
        gone = web.url
    found = await read(tmp_path, *(f"{gone}/{n}.png" for n in range(300)))

    assert len(found.bad) == 300
    assert "refused" in found.bad[0].reason
    assert f"{gone} did not answer other rows either" in found.bad[-1].reason


async def test_a_missing_extra_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the row that needs it."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)

    assert "pip install 'fluxbatch-engine[objectstore]'" in await refusal(tmp_path, "s3://b/a.png")
