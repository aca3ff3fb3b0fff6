"""The transport whose every request is measured: its route, its status, its time.

Owns what a route is called, so that no id and no key becomes a label. Source:
docs/design/decisions.md "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable

from fluxbatch.errors import NotSent
from fluxbatch.events import RequestMeasured
from fluxbatch.infra.runtime import Clock
from fluxbatch.provider.transport import ConnectionLost, HttpRequest, HttpResponse, Transport

_WORDS = frozenset({"cancel", "presign"})
"""What stands in a path behind its first word and is no id."""


class MeasuredTransport:
    """Sends by another transport, and tells *measure* of each request."""

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        clock: Clock,
        measure: Callable[[RequestMeasured], None],
    ) -> None:
        self._transport = transport
        self._base_url = base_url
        self._clock = clock
        self._measure = measure

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises what the other transport raises."""
        began = self._clock.monotonic()
        code: str | None = None  # stays so where the caller is cancelled
        try:
            answer = await self._transport.send(request)
            code = str(answer.status)
            return answer
        except NotSent:
            code = "unsent"
            raise
        except ConnectionLost as exc:
            code = "none" if exc.status is None else str(exc.status)
            raise
        finally:
            if code is not None:
                seconds = self._clock.monotonic() - began
                self._measure(RequestMeasured(self._route(request), code, seconds))

    def _route(self, request: HttpRequest) -> str:
        if not request.url.startswith(f"{self._base_url}/"):
            return f"{request.method} elsewhere"  # where uploads go
        first, *others = request.url[len(self._base_url) + 1 :].strip("/").split("/")
        path = "/".join([first, *(one if one in _WORDS else "{id}" for one in others)])
        return f"{request.method} /{path}"
