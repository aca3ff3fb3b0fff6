"""The client's requests, its secrets, and its paging."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from PIL import Image

from fluxbatch.config.endpoints import Provider
from fluxbatch.config.proxies import environment_proxies
from fluxbatch.domain.job import ControlFile, PredictionId
from fluxbatch.errors import (
    ApiError,
    BalanceTooLow,
    ConfigError,
    KeyRefused,
    QuotaExceeded,
    RejectedRequest,
    TransientApiError,
)
from fluxbatch.infra.runtime import Runtime, SystemClock
from fluxbatch.provider import (
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    ProviderClient,
    RetryPolicy,
    upload,
)
from fluxbatch.provider.transport import open_transport
from tests.support.clients import KEY, KEY_TEXT, QUICK, CountedBlocking, client_of, runtime
from tests.support.raw_server import Conversation, raw_server
from tests.support.scripted_server import Answer, scripted_server

P = PredictionId("p-1")
CREATED = Answer(200, {"status": "success", "predictionID": "p-1"})


@pytest.mark.parametrize(
    ("settings", "path", "header", "value"),
    [
        ({}, "/prediction/", "X-API-Key", KEY_TEXT),
        ({"dialect": "docs"}, "/prediction", "X-API-Key", KEY_TEXT),
        ({"auth": "bearer"}, "/prediction/", "Authorization", f"Bearer {KEY_TEXT}"),
    ],
)
async def test_a_create_is_written_as_the_settings_say(
    settings: dict[str, Any], path: str, header: str, value: str
) -> None:
    """
    The path is the dialect's, the header the auth scheme's; the body is both's.
    """
    async with scripted_server(CREATED) as server, client_of(server.base_url, **settings) as client:
        created = await client.create(
            "m", {"prompt": "é\ud800", "seed": 3}, webhook_url="https://w", webhook_secret="s"
        )
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", path)
    assert request.headers[header] == value
    assert not {"X-API-Key", "Authorization"} - {header} & set(request.headers)
    assert request.json() == {
        "model": "m",
        "input": {"prompt": "é\ud800", "seed": 3},
        "webhook_url": "https://w",
        "webhook_secret": "s",
    }
    assert created.prediction_id == "p-1"
    assert created.request_id == request.headers["X-Request-Id"]
    assert created.date is not None
    assert abs(created.date - datetime.now(UTC)) < timedelta(seconds=5)


async def test_what_is_not_given_is_not_sent() -> None:
    """
    No empty webhook, no version.
    """
    async with scripted_server(CREATED) as server, client_of(server.base_url) as client:
        await client.create("m", {})
    assert server.requests[0].json() == {"model": "m", "input": {}}


async def test_every_read_goes_where_the_contract_says() -> None:
    """
    Paths, methods and queries, ids made safe for a path.
    """
    bodies: list[object] = [
        {"status": "processing"},
        {"status": "cancelled"},
        {"slug": "m", "title": "M", "output_type": "image", "request_schema": {"type": "object"}},
        b"",
        {"executions": []},
    ]
    answers = [Answer(200, body) for body in bodies]
    async with scripted_server(*answers) as server, client_of(server.base_url) as client:
        await client.get(PredictionId("a/b?c"))
        await client.cancel(P)
        assert (await client.model("m")).title == "M"
        await client.delete_file("f-1")
        since = datetime(2026, 8, 1, 10, 0, 0, 500_000, tzinfo=UTC)
        await client.executions(since=since, until=since, model="m", offset=20, limit=10)
    span = "from=2026-08-01T10:00:00Z&to=2026-08-01T10:00:01Z"
    assert [f"{r.method} {r.path}" for r in server.requests] == [
        "GET /prediction/a%2Fb%3Fc",
        "POST /prediction/p-1/cancel",
        "GET /model?slug=m",
        "DELETE /files/f-1",
        f"GET /executions?{span}&model=m&limit=10&offset=20",
    ]


async def test_a_file_that_is_gone_already_is_deleted() -> None:
    """
    Deleting is idempotent.
    """
    async with scripted_server(Answer(404)) as server, client_of(server.base_url) as client:
        await client.delete_file("f-1")
    assert len(server.requests) == 1


async def test_an_answer_about_another_prediction_is_not_believed() -> None:
    """
    It would store another job's image under this one's name.
    """
    answer = Answer(200, {"id": "p-2", "status": "success", "output": "https://x/y.png"})
    async with scripted_server(answer) as server, client_of(server.base_url) as client:
        with pytest.raises(TransientApiError, match="another prediction"):
            await client.get(P)


class History:
    """A provider's history behind a transport, newest first; no sockets."""

    def __init__(self, count: int, *, cap: int = 100, total: int | None = None) -> None:
        self.rows = [{"id": f"p-{n}", "model": "m", "status": "success"} for n in range(count)]
        self.cap = cap
        self.total = total
        self.asked: list[dict[str, str]] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(dict(request.query))
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        rows = self.rows[offset : offset + min(limit, self.cap)]
        body = {"executions": rows, **({} if self.total is None else {"total_count": self.total})}
        return HttpResponse(
            200, {"date": "Sat, 01 Aug 2026 10:00:00 GMT"}, json.dumps(body).encode()
        )


def over(transport: object, patience: RetryPolicy = QUICK) -> ProviderClient:
    return ProviderClient(transport, Provider(), KEY, runtime(), patience)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
async def test_the_listing_is_whole_whatever_its_length(count: int) -> None:
    """
    Paged until a short page, `to` the same on every page, and no filter by status.
    """
    history = History(count)
    until = datetime(2026, 8, 1, 10, tzinfo=UTC)
    listing = await over(history).listing(since=None, until=until)
    assert [row.prediction_id for row in listing.rows] == [f"p-{n}" for n in range(count)]
    assert listing.is_complete
    assert {query["to"] for query in history.asked} == {"2026-08-01T10:00:00Z"}
    assert all("status" not in query for query in history.asked)
    assert len(history.asked) == count // 100 + 1


async def test_the_listing_began_before_its_first_answer_by_the_providers_clock() -> None:
    """
    What counts is when the provider looked, not when we read it.
    """
    listing = await over(History(0)).listing(since=None, until=datetime.now(UTC))
    assert listing.began is not None
    answered = datetime(2026, 8, 1, 10, tzinfo=UTC)
    assert answered - timedelta(seconds=2) < listing.began <= answered


async def test_a_provider_that_pages_by_less_than_asked_is_read_to_its_end() -> None:
    """
    Its own count says that the short page was not the last.
    """
    listing = await over(History(120, cap=50, total=120)).listing(
        since=None, until=datetime.now(UTC)
    )
    assert len(listing.rows) == 120


async def test_a_count_that_promises_more_than_there_is_ends_at_an_empty_page() -> None:
    """
    It may count what the filter leaves out.
    """
    listing = await over(History(3, total=900)).listing(since=None, until=datetime.now(UTC))
    assert len(listing.rows) == 3


async def test_a_listing_that_repeats_itself_ends_with_an_error() -> None:
    """
    A server that ignores `offset` would page for ever, and prove nothing.
    """

    class Stuck(History):
        async def send(self, request: HttpRequest) -> HttpResponse:
            fixed = HttpRequest("GET", request.url, query={**request.query, "offset": "0"})
            return await super().send(fixed)

    with pytest.raises(TransientApiError, match="does not end"):
        await over(Stuck(100)).listing(since=None, until=datetime.now(UTC))


async def test_a_row_without_an_id_makes_a_listing_prove_nothing() -> None:
    """
    It might be the very create that is looked for.
    """
    history = History(2)
    history.rows.append({"model": "m"})
    listing = await over(history).listing(since=None, until=datetime.now(UTC))
    assert not listing.is_complete
    assert len(listing.rows) == 2


class Failing:
    """A transport whose every answer or failure says the key."""

    def __init__(self, outcome: Callable[[], HttpResponse]) -> None:
        self.outcome = outcome

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self.outcome()


def _drop() -> HttpResponse:
    raise ConnectionLost(f"could not reach https://h/?key={KEY_TEXT} with {KEY_TEXT}")


def _says(status: int) -> Callable[[], HttpResponse]:
    body = f'{{"error": "bad key {KEY_TEXT}", "details": "{"x" * 480}{KEY_TEXT}"}}'.encode()
    return lambda: HttpResponse(status, {"x-request-id": KEY_TEXT}, body)


_SAID = (200, 307, 400, 401, 402, 404, 429, 500)


@pytest.mark.parametrize("outcome", [_drop, *map(_says, _SAID)], ids=["dropped", *map(str, _SAID)])
async def test_the_key_is_in_no_error_whatever_the_provider_echoes(
    outcome: Callable[[], HttpResponse],
) -> None:
    """
    Not in its text, its repr, its request id, its traceback or anything chained to it.
    """
    client = over(Failing(outcome))
    for call in (lambda: client.create("m", {}), lambda: client.get(P)):
        with pytest.raises(ApiError) as caught:
            await call()
        error: BaseException | None = caught.value
        assert KEY_TEXT not in "".join(traceback.format_exception(caught.value))
        while error is not None:
            assert KEY_TEXT[:12] not in f"{error} {error!r} {vars(error)}"
            error = error.__cause__ or error.__context__


async def test_no_network_failure_chains_to_an_error_that_knows_the_key() -> None:
    """
    aiohttp's errors hold the request with its headers; they stop in the transport.
    """

    async def handler(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"nonsense\r\n\r\n")

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(ApiError) as caught:
            await client.create("m", {})
    assert KEY_TEXT.encode() in server.received
    chained = caught.value.__cause__ or caught.value.__context__
    while chained is not None:
        assert type(chained).__module__.startswith("fluxbatch")
        chained = chained.__cause__ or chained.__context__


def test_a_request_prints_neither_key_nor_address() -> None:
    """
    Presigned addresses are credentials too.
    """
    request = HttpRequest("PUT", f"https://h/?{KEY_TEXT}", {"X-API-Key": KEY_TEXT}, body=b"secret")
    assert repr(request) == "HttpRequest(method='PUT', timeout_s=None)"


def test_the_pauses_grow_are_bounded_and_never_shorter_than_told() -> None:
    """
    Seeded chance, so a simulation repeats itself.
    """
    patience = RetryPolicy(tries=6, first_s=1.0, most_s=4.0, told_s=60.0)
    random = Random(1)
    plain = [patience.pause_s(n, TransientApiError("x"), random) for n in range(1, 7)]
    assert plain[-1] is None
    for pause, ceiling in zip(plain[:-1], [1.0, 2.0, 4.0, 4.0, 4.0], strict=True):
        assert pause is not None
        assert ceiling / 2 <= pause <= ceiling
    told = patience.pause_s(1, QuotaExceeded("x", retry_after_s=30.0), random)
    assert told is not None
    assert 30.0 < told <= 31.0
    assert patience.pause_s(1, QuotaExceeded("x", retry_after_s=61.0), random) is None
    assert patience.pause_s(1, KeyRefused("x"), random) is None
    assert patience.pause_s(1, BalanceTooLow("x"), random) is None


def control_file(path: Path) -> ControlFile:
    content = path.read_bytes()
    return ControlFile(str(path), hashlib.sha256(content).hexdigest(), len(content), "image/png")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "control.png"
    Image.frombytes("RGB", (16, 16), os.urandom(768)).save(path)
    return path


def presign(server_url: str, number: int) -> Answer:
    return Answer(
        200,
        {
            "id": f"f-{number}",
            "presigned_url": f"{server_url}/bucket/f-{number}?X-Signature=S%2F{number}",
            "public_url": f"{server_url}/public/f-{number}.png",
            "expires_at": "2027-02-01T00:00:00Z",
            "required_headers": {"x-amz-acl": "public-read"},
        },
    )


async def test_an_upload_sends_exactly_what_the_storage_asks_for(picture: Path) -> None:
    """
    The bytes, their type, the required headers; not the key, which is the provider's alone.
    """
    named = control_file(picture)
    to_thread = CountedBlocking()
    async with scripted_server(Answer()) as server, client_of(server.base_url) as client:
        server.answers = [presign(server.base_url, 1), Answer(200, b"")]
        done = await upload(client, named, Runtime(SystemClock(), Random(1), to_thread), QUICK)
    asked, put = server.requests
    assert asked.json() == {"content_type": "image/png", "file_type": "image"}
    assert (put.method, put.path) == ("PUT", "/bucket/f-1?X-Signature=S%2F1")
    assert hashlib.sha256(put.body).hexdigest() == named.sha256
    assert put.headers["Content-Type"] == "image/png"
    assert put.headers["x-amz-acl"] == "public-read"
    assert KEY_TEXT not in str(dict(put.headers))
    assert not {"X-API-Key", "Authorization", "X-Request-Id", "Cookie"} & set(put.headers)
    assert (done.file_id, done.mime, done.bytes) == ("f-1", "image/png", len(put.body))
    assert done.public_url == f"{server.base_url}/public/f-1.png"
    assert done.expires_at == datetime(2027, 2, 1, tzinfo=UTC)
    assert to_thread.calls == 1


async def test_each_try_of_an_upload_has_a_fresh_address(picture: Path) -> None:
    """
    A presigned URL lives minutes: 403 is its end, not the key's.
    """
    async with scripted_server(Answer()) as server, client_of(server.base_url) as client:
        url = server.base_url
        server.answers = [
            presign(url, 1),
            Answer(403, b"<Error>Request has expired</Error>"),
            Answer(503),
            presign(url, 2),
            Answer(200),
        ]
        done = await upload(client, control_file(picture), runtime(), QUICK)
    assert done.file_id == "f-2"
    puts = [request for request in server.requests if request.method == "PUT"]
    assert [urlsplit(put.path).path for put in puts] == ["/bucket/f-1", "/bucket/f-2"]
    assert [parse_qs(urlsplit(put.path).query)["X-Signature"] for put in puts] == [["S/1"], ["S/2"]]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, TransientApiError),
        (500, TransientApiError),
        (400, RejectedRequest),
        (413, RejectedRequest),
    ],
)
async def test_a_storage_that_refuses_is_told_without_the_signature(
    picture: Path, status: int, kind: type[ApiError]
) -> None:
    """
    What fails for ever is told apart from what may pass.
    """
    async with scripted_server(Answer()) as server, client_of(server.base_url) as client:
        signed = presign(server.base_url, 1)
        refusal = Answer(status, b"no: https://s3.example/b?X-Signature=S")
        server.answers = [signed, refusal, signed, refusal, signed, refusal]
        with pytest.raises(ApiError) as caught:
            await upload(client, control_file(picture), runtime(), QUICK)
    assert type(caught.value) is kind
    assert "X-Signature" not in str(caught.value)


async def test_a_control_image_that_changed_is_not_sent(picture: Path) -> None:
    """
    The job is named by the bytes that the manifest saw.
    """
    named = control_file(picture)
    Image.new("RGB", (8, 8)).save(picture)
    with pytest.raises(RejectedRequest, match="has changed since the manifest was read"):
        await upload(over(Failing(_drop)), named, runtime(), QUICK)


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n half"])
async def test_a_control_image_that_is_none_is_not_sent(tmp_path: Path, content: bytes) -> None:
    """
    A text file named .png would be paid for and fail.
    """
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(RejectedRequest, match="no readable jpeg, png or webp"):
        await upload(over(Failing(_drop)), control_file(path), runtime(), QUICK)


async def test_a_control_image_of_a_type_the_model_refuses_is_not_sent(tmp_path: Path) -> None:
    """
    A gif decodes well and is refused all the same.
    """
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, format="gif")
    with pytest.raises(RejectedRequest, match="no readable jpeg, png or webp"):
        await upload(over(Failing(_drop)), control_file(path), runtime(), QUICK)


async def test_a_control_image_that_vanished_is_named(tmp_path: Path) -> None:
    """
    The path and why.
    """
    named = ControlFile(str(tmp_path / "gone.png"), "0" * 64, 1, "image/png")
    with pytest.raises(RejectedRequest, match="No such file"):
        await upload(over(Failing(_drop)), named, runtime(), QUICK)


async def test_an_upload_address_without_https_is_refused() -> None:
    """
    Only a provider on this machine may do without.
    """
    body = b'{"id": "f", "presigned_url": "http://h/x", "public_url": "https://h/x"}'
    with pytest.raises(TransientApiError, match="without https"):
        await over(Failing(lambda: HttpResponse(200, {}, body))).presign("image/png")


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By scheme, with exceptions, and never for this machine.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert environment_proxies()("https://api.example/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    proxy_for = environment_proxies()
    assert proxy_for("https://api.example/v1") == "http://proxy.corp:3128"
    assert proxy_for("https://internal.example/v1") is None
    assert proxy_for("http://api.example/v1") is None
    assert proxy_for("https://127.0.0.1:8000/v1") is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTPS_PROXY", "socks5://u:hunter2@h:1", "HTTPS_PROXY: socks5 proxies"),
        ("https_proxy", "socks5h://h:1", "https_proxy: socks5h proxies"),
        ("ALL_PROXY", "socks4://h:1", "ALL_PROXY: socks4 proxies"),
        ("ALL_PROXY", "ftp://h:1", "ALL_PROXY: ftp proxies"),
        ("HTTPS_PROXY", "http://", "HTTPS_PROXY is no address"),
        ("HTTPS_PROXY", "http://hunter2:99999", "HTTPS_PROXY is no address"),
        ("HTTP_PROXY", "socks5://h:1", "HTTP_PROXY: socks5 proxies"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_refused_before_anything_is_sent(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    By the variable's name, without its value; only where the provider is not this machine.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=said) as caught:
        async with open_transport(Provider(base_url="https://api.example/v1")):
            pass
    assert "hunter2" not in str(caught.value)
    async with open_transport(Provider(base_url="http://127.0.0.1:9/v1")):
        pass


def test_a_proxy_without_a_scheme_is_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As other programs take it.
    """
    monkeypatch.setenv("HTTPS_PROXY", "proxy.corp:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert environment_proxies()("https://api.example/v1") == "http://proxy.corp:3128"


async def test_an_https_call_goes_through_the_proxy_with_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Only CONNECT reaches the proxy; the key stays inside the tunnel that never came to be.
    """

    async def refusing(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(head="403 Forbidden")

    async with raw_server(refusing) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pw@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client_of("https://api.example/v1") as client:
            with pytest.raises(TransientApiError) as caught:
                await client.create("m", {})
        await anyio.sleep(0.01)
    assert proxy.received.startswith(b"CONNECT api.example:443 ")
    assert b"Proxy-Authorization: Basic dXNlcjpwdw==" in proxy.received
    assert KEY_TEXT.encode() not in proxy.received
    assert "pw" not in str(caught.value)
