"""One request of one key and its answer: identified, sent, and judged by its status.

Owns what every call shares: the key's header, request ids, the retries of reads, and the
rule that a create is sent once. What it raises carries the request id and never the key.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider
from fluxbatch.errors import AmbiguousCreate, ApiError, NotSent, TransientApiError
from fluxbatch.infra.redaction import sanitize
from fluxbatch.infra.runtime import Runtime
from fluxbatch.provider import status_errors
from fluxbatch.provider.json_fields import MalformedResponse
from fluxbatch.provider.read_retry import RetryPolicy, retry
from fluxbatch.provider.transport import (
    BeforeSend,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    Transport,
)

_T = TypeVar("_T")

_REQUEST_ID = "X-Request-Id"
_MAX_ID_CHARS = 128


class RequestSender:
    """Borrows its transport."""

    def __init__(
        self,
        transport: Transport,
        settings: Provider,
        key: ApiKey | None,
        runtime: Runtime,
        patience: RetryPolicy,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._key = key
        self._runtime = runtime
        self._patience = patience

    async def with_retry(self, once: Callable[[], Awaitable[_T]]) -> _T:
        """The result of something that may be repeated."""
        return await retry(once, self._patience, self._runtime.random)

    async def read(
        self, path: str, meaning: Callable[[bytes], _T], query: Mapping[str, str] | None = None
    ) -> _T:
        """What a GET's answer means; tried again as patience allows."""

        async def once() -> _T:
            request = self.request("GET", path, query=query)
            return self.parse(meaning, await self.send_ok(request), request)

        return await self.with_retry(once)

    async def send_ok(self, request: HttpRequest, *, absent_is_fine: bool = False) -> HttpResponse:
        """The answer to something that may be repeated, if it is a 2xx."""
        answer = await self.send(request)
        if 200 <= answer.status < 300 or (absent_is_fine and answer.status in {404, 410}):
            return answer
        error = status_errors.read_error(
            answer, self.request_id(request, answer), now=self.utc(), clean=self.clean
        )
        if error is not None:
            raise error
        return answer

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Any answer to something that may be repeated."""
        status = None
        try:
            return await self._transport.send(request)
        except NotSent as exc:
            failure = f"the provider could not be reached: {self.clean(str(exc))}"
        except ConnectionLost as exc:
            failure, status = f"the provider did not answer: {self.clean(str(exc))}", exc.status
        raise TransientApiError(failure, status=status, request_id=self.request_id(request))

    async def send_create(self, request: HttpRequest) -> HttpResponse:
        """Any answer to a create, which is sent once."""
        request_id = self.request_id(request)
        error: ApiError
        try:
            return await self._transport.send(request)
        except NotSent as exc:
            error = NotSent(
                f"the create was not sent: {self.clean(str(exc))}", request_id=request_id
            )
        except ConnectionLost as exc:
            if exc.status is not None and not status_errors.is_ambiguous(exc.status):
                # Its first line refused the create; only the explanation was lost.
                return HttpResponse(exc.status)
            error = AmbiguousCreate(
                f"no answer to a create: {self.clean(str(exc))}",
                status=exc.status,
                request_id=request_id,
            )
        raise error

    def parse(
        self, meaning: Callable[[bytes], _T], answer: HttpResponse, request: HttpRequest
    ) -> _T:
        """What the body of a read's 2xx means."""
        try:
            return meaning(answer.body)
        except MalformedResponse as exc:
            raise TransientApiError(
                f"the provider's answer cannot be read: {exc}",
                status=answer.status,
                request_id=self.request_id(request, answer),
            ) from None

    def request(
        self,
        method: str,
        path: str,
        *,
        content: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        before_send: BeforeSend | None = None,
    ) -> HttpRequest:
        """A request with our key, where there is one, and an id of its own."""
        headers = {
            "Accept": "application/json",
            _REQUEST_ID: f"{self._runtime.random.getrandbits(128):032x}",
        }
        if self._key is None:
            pass
        elif self._settings.auth == "bearer":
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        else:
            headers["X-API-Key"] = self._key.reveal()
        body = None
        if content is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        url = f"{self._settings.base_url}/{path}"
        return HttpRequest(method, url, headers, query or {}, body, before_send)

    def request_id(self, request: HttpRequest, answer: HttpResponse | None = None) -> str:
        """The provider's name for the request where it gave one, else ours."""
        echoed = answer.headers.get("x-request-id", "") if answer is not None else ""
        return self.clean(echoed)[:_MAX_ID_CHARS] or request.headers.get(_REQUEST_ID, "")

    def clean(self, text: str) -> str:
        """Redacted text without this key; the key first, as cutting could leave a part of it."""
        return sanitize(self._key.redacted(text) if self._key is not None else text)

    def without_key(self, body: bytes) -> bytes:
        """A body that is kept as a whole, without this key."""
        if self._key is None:
            return body
        return self._key.redacted(body.decode("utf-8", "replace")).encode()

    def utc(self) -> datetime:
        return self._runtime.clock.now().utc


def quote_path(name: str) -> str:
    """*name* as one segment of a path."""
    return quote(name, safe="")
