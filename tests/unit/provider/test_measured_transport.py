"""Requests as they are measured: by a route without ids, also where no answer comes."""

from __future__ import annotations

import pytest

from fluxbatch.errors import NotSent
from fluxbatch.events import RequestMeasured
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.provider import ConnectionLost, HttpRequest, HttpResponse
from fluxbatch.provider.measured_transport import MeasuredTransport

BASE = "https://api.example/v1"


class _Answering:
    """A transport that answers, or fails, as it is told."""

    def __init__(self, outcome: HttpResponse | Exception) -> None:
        self.outcome = outcome

    async def send(self, request: HttpRequest) -> HttpResponse:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def _measured(request: HttpRequest, outcome: HttpResponse | Exception) -> RequestMeasured:
    seen = list[RequestMeasured]()
    transport = MeasuredTransport(_Answering(outcome), BASE, SystemClock(), seen.append)
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            await transport.send(request)
    else:
        assert await transport.send(request) is outcome
    (one,) = seen
    return one


@pytest.mark.parametrize(
    ("method", "url", "route"),
    [
        ("POST", f"{BASE}/prediction/", "POST /prediction"),
        ("POST", f"{BASE}/prediction", "POST /prediction"),
        ("GET", f"{BASE}/prediction/3f2c-77", "GET /prediction/{id}"),
        ("POST", f"{BASE}/prediction/3f2c-77/cancel", "POST /prediction/{id}/cancel"),
        ("GET", f"{BASE}/executions", "GET /executions"),
        ("POST", f"{BASE}/upload/presign", "POST /upload/presign"),
        ("DELETE", f"{BASE}/upload/photo.jpg", "DELETE /upload/{id}"),
        ("PUT", "https://bucket.example/photo.jpg?signature=secret", "PUT elsewhere"),
        ("GET", "https://api.example/v1.evil/prediction", "GET elsewhere"),
    ],
)
async def test_a_route_names_no_id_and_no_host(method: str, url: str, route: str) -> None:
    measured = await _measured(HttpRequest(method, url), HttpResponse(200))

    assert (measured.route, measured.code) == (route, "200")
    assert measured.seconds >= 0


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NotSent("no connection"), "unsent"),
        (ConnectionLost("reset"), "none"),
        (ConnectionLost("reset", status=502), "502"),
    ],
)
async def test_a_request_without_an_answer_is_measured_too(failure: Exception, code: str) -> None:
    measured = await _measured(HttpRequest("POST", f"{BASE}/prediction"), failure)

    assert measured.code == code
