"""The thin HTTP layer on real sockets: every fate as a client meets it."""

from __future__ import annotations

import io
from time import monotonic
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.app import emulator_app
from fluxbatch.emulator.core import ProviderCore
from tests.emulator.support import HEADERS, FakeClock, HttpClient, make_core, order, until

PROMPTLY = aiohttp.ClientTimeout(total=0.3)


async def _create(served: HttpClient, **values: Any) -> str:
    async with served.post("/v1/prediction/", json=order(**values), headers=HEADERS) as answer:
        assert answer.status == 200
        return str((await answer.json())["predictionID"])


async def _output_url(served: HttpClient, core: ProviderCore, clock: FakeClock) -> str:
    prediction = await _create(served)
    clock.pass_(10)
    async with served.get(f"/v1/prediction/{prediction}", headers=HEADERS) as answer:
        url = str((await answer.json())["output"])
    return url.removeprefix(core.origin)


async def test_a_job_from_photo_to_image(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    Presign, put, create, poll, download: all of it over the wire.
    """
    buffer = io.BytesIO()
    Image.linear_gradient("L").save(buffer, "JPEG")
    ask = {"content_type": "image/jpeg", "file_type": "image"}
    async with served.post("/v1/upload/presign", json=ask, headers=HEADERS) as answer:
        signed = await answer.json()
    put = signed["presigned_url"].removeprefix(core.origin)
    headers = {"Content-Type": "image/jpeg", **signed["required_headers"]}
    async with served.put(put, data=buffer.getvalue(), headers=headers) as answer:
        assert answer.status == 200
    prediction = await _create(served, control_image=signed["public_url"], output_format="png")
    clock.pass_(10)
    async with served.get(f"/v1/prediction/{prediction}", headers=HEADERS) as answer:
        url = (await answer.json())["output"]
    async with served.get(url.removeprefix(core.origin)) as answer:
        content = await answer.read()
        assert answer.content_type == "image/png"

    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (64, 64))


@pytest.mark.parametrize("path", ["/v1/prediction", "/v1/prediction/"])
async def test_the_slash_at_the_end_does_not_matter(served: HttpClient, path: str) -> None:
    """
    Every response carries the request's id and the provider's date.
    """
    headers = {**HEADERS, "X-Request-Id": "mine"}
    async with served.post(path, json=order(), headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["X-Request-Id"] == "mine"
        assert answer.headers["Date"] == "Sun, 22 Nov 2026 12:00:00 GMT"


async def test_a_body_that_is_no_json_is_a_400(served: HttpClient) -> None:
    """
    Not a 500.
    """
    async with served.post("/v1/prediction", data=b"{", headers=HEADERS) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("fault", ["create_reset_before", "create_reset_after", "create_late"])
async def test_a_reset_create_dies_without_a_byte(
    served: HttpClient, core: ProviderCore, fault: str
) -> None:
    """
    The client cannot tell whether it was created; only the books can.
    """
    core.faults[fault] = 1
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await served.post("/v1/prediction", json=order(), headers=HEADERS)

    assert stats(core)["created"] == (fault == "create_reset_after")


async def test_a_held_request_is_never_answered(served: HttpClient, core: ProviderCore) -> None:
    """
    The connection stays open until the client gives up.
    """
    prediction = await _create(served)
    core.faults.merge({"create_timeout_after": 1, "get_timeout": 1})
    with pytest.raises(TimeoutError):
        await served.post("/v1/prediction", json=order(), headers=HEADERS, timeout=PROMPTLY)
    with pytest.raises(TimeoutError):
        await served.get(f"/v1/prediction/{prediction}", headers=HEADERS, timeout=PROMPTLY)


async def test_a_held_request_does_not_hold_up_the_shutdown(core: ProviderCore) -> None:
    """
    The server lets go of it and ends at once.
    """
    core.faults["create_timeout_after"] = 1
    async with TestClient(TestServer(emulator_app(core))) as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_ignored_create, client)
                await until(lambda: core.executor.billing.created == 1)
                await client.server.close()


async def _ignored_create(client: HttpClient) -> None:
    with pytest.raises(aiohttp.ClientError):
        await client.post("/v1/prediction", json=order(), headers=HEADERS)


@pytest.mark.parametrize("fault", ["create_garbled", "create_no_id", "create_504_html_after"])
async def test_an_answer_without_an_id_still_created(
    served: HttpClient, core: ProviderCore, fault: str
) -> None:
    """
    A gateway's HTML, half a JSON, or one that lacks the id.
    """
    core.faults[fault] = 1
    async with served.post("/v1/prediction", json=order(), headers=HEADERS) as answer:
        assert b"predictionID" not in await answer.read()

    assert stats(core)["created"] == 1


async def test_a_redirected_create_points_elsewhere(served: HttpClient, core: ProviderCore) -> None:
    """
    308 with a Location that must not be followed with the key in hand.
    """
    core.faults["create_redirect"] = 1
    async with served.post(
        "/v1/prediction", json=order(), headers=HEADERS, allow_redirects=False
    ) as answer:
        assert answer.status == 308
        assert answer.headers["Location"].startswith("https://elsewhere.invalid")


async def test_a_slow_create_is_answered_in_the_end(served: HttpClient, core: ProviderCore) -> None:
    """
    Created at once, told later.
    """
    core.faults.merge({"create_slow": 1, "slow_seconds": 0.2})
    began = anyio.current_time()
    await _create(served)

    assert anyio.current_time() - began >= 0.2


async def test_a_truncated_download_ends_before_its_length(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    The Content-Length is that of the whole file.
    """
    url = await _output_url(served, core, clock)
    async with served.get(url) as answer:
        whole = await answer.read()
    core.faults["download_truncated"] = 1
    async with served.get(url) as answer:
        assert answer.content_length == len(whole)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_short_file_has_a_matching_length_and_cannot_be_decoded(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    Only decoding it in full tells.
    """
    url = await _output_url(served, core, clock)
    core.faults["download_truncated_short"] = 1
    async with served.get(url) as answer:
        content = await answer.read()
        assert answer.content_length == len(content)

    with pytest.raises(OSError, match="decode"), Image.open(io.BytesIO(content)) as image:
        image.load()


async def test_a_wrong_type_is_another_image_under_the_promised_name(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    A GIF that says it is a WebP.
    """
    url = await _output_url(served, core, clock)
    core.faults["download_wrong_type"] = 1
    async with served.get(url) as answer:
        assert answer.content_type == "image/webp"
        assert (await answer.read()).startswith(b"GIF8")


async def test_html_and_nothing_come_with_a_200(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    A captive portal's page; an empty file.
    """
    url = await _output_url(served, core, clock)
    core.faults["download_html_200"] = 1
    async with served.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    core.faults.merge({"download_html_200": 0, "download_zero": 1})
    async with served.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_drip_never_ends_but_always_sends(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    A byte now and then, so that a read timeout alone never strikes.
    """
    url = await _output_url(served, core, clock)
    core.faults["download_drip"] = 1
    async with served.get(url) as answer:
        assert len(await answer.content.read(2)) > 0
        with anyio.move_on_after(0.5) as patience:
            await answer.read()
        assert patience.cancelled_caught


async def test_redirects_of_downloads_lead_astray(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    One to the file, one in circles, one into a private network.
    """
    url = await _output_url(served, core, clock)
    core.faults["download_redirect"] = 1
    async with served.get(url) as answer:
        assert answer.status == 200
        assert len(answer.history) == 1
    core.faults.merge({"download_redirect": 0, "download_redirect_loop": 1})
    with pytest.raises(aiohttp.TooManyRedirects):
        await served.get(url)
    core.faults.merge({"download_redirect_loop": 0, "download_redirect_private": 1})
    async with served.get(url, allow_redirects=False) as answer:
        assert answer.headers["Location"].startswith("http://10.0.0.1/")


async def test_a_large_picture_is_painted_beside_the_loop(clock: FakeClock) -> None:
    """
    As asked: a quarter of a megapixel, a jpg.
    """
    core = make_core(clock, image_size=None)
    async with TestClient(TestServer(emulator_app(core))) as served:
        prediction = await _create(served, megapixels="0.25", output_format="jpg")
        clock.pass_(10)
        async with served.get(f"/v1/prediction/{prediction}", headers=HEADERS) as answer:
            url = (await answer.json())["output"].removeprefix(core.origin)
        async with served.get(url) as answer:
            content = await answer.read()

    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (512, 512))


async def test_latency_is_spent_before_arrival_and_after(clock: FakeClock) -> None:
    """
    Two trips a request; the control routes have none.
    """
    core = make_core(clock, latency_s=1.0, speed=10.0)
    async with TestClient(TestServer(emulator_app(core))) as served:
        began = anyio.current_time()
        await _create(served)
        assert anyio.current_time() - began >= 0.2
        began = anyio.current_time()
        await served.get("/_emulator/stats")
        assert anyio.current_time() - began < 0.1


class _Listener:
    """A webhook receiver that refuses as often as it is told to."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.got: list[tuple[dict[str, Any], str | None]] = []
        self.heard = anyio.Event()

    async def receive(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.got.append((await request.json(), request.headers.get("X-Webhook-Secret")))
        self.heard.set()
        return web.Response(status=204)


async def _listen(listener: _Listener) -> TestServer:
    app = web.Application()
    app.router.add_post("/hook", listener.receive)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_webhooks_are_posted_until_they_are_accepted() -> None:
    """
    The emulator's own timer delivers them, and tries again after a 503.
    """
    core = make_core(monotonic, speed=1000.0)
    listener = _Listener(refusals=1)
    receiver = await _listen(listener)
    async with receiver, TestClient(TestServer(emulator_app(core))) as served:
        body = {**order(), "webhook_url": str(receiver.make_url("/hook")), "webhook_secret": "s"}
        async with served.post("/v1/prediction", json=body, headers=HEADERS) as answer:
            prediction = (await answer.json())["predictionID"]
        with anyio.fail_after(5):
            await listener.heard.wait()
            await until(lambda: core.hooks.delivered == 1)
        async with served.get(f"/v1/webhooks/{prediction}", headers=HEADERS) as answer:
            attempts = (await answer.json())["attempts"]

    assert listener.got[0][0]["exec_id"] == prediction
    assert listener.got[0][1] == "s"
    assert [attempt["status_code"] for attempt in attempts] == [503, 204]
