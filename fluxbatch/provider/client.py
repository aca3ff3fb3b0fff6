"""The provider's API as typed calls: one method is one request, answers become values or errors.

Owns the request side of the contract: paths, the key's header, request ids. Creates are sent
once, whatever happens; reads are retried. What it raises carries the request id and
never the key. Knows nothing of jobs, limits or the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider
from fluxbatch.domain.job import PredictionId
from fluxbatch.errors import (
    AmbiguousCreate,
    EndpointWrong,
    NotFound,
    NotSent,
    TransientApiError,
)
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import Clock, Runtime, Timestamp
from fluxbatch.provider import responses, status_errors
from fluxbatch.provider.json_fields import MalformedResponse
from fluxbatch.provider.read_retry import RetryPolicy
from fluxbatch.provider.request import RequestSender, quote_path
from fluxbatch.provider.transport import BeforeSend, HttpRequest, Transport

PAGE_ROWS = 100
_MAX_PAGES = 1_000
_SLOWEST_UPLOAD_BYTES_S = 64_000


@dataclass(frozen=True, slots=True)
class Created:
    """A create was accepted."""

    prediction_id: PredictionId
    request_id: str
    date: datetime | None
    """When the provider's clock says it answered."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Every execution the provider listed for one question."""

    rows: tuple[responses.Execution, ...]
    unreadable: int
    """Rows without an id: what they were cannot be known, so such a listing proves no absence."""
    began: datetime | None
    """A moment, by the provider's clock, before it began to answer; None if it gives no time."""

    @property
    def is_complete(self) -> bool:
        return self.unreadable == 0


class ProviderClient:
    """One key's view of the provider; without one, of what is public. Borrows its transport."""

    def __init__(
        self,
        transport: Transport,
        settings: Provider,
        key: ApiKey | None,
        runtime: Runtime,
        patience: RetryPolicy = RetryPolicy(),  # noqa: B008  frozen
    ) -> None:
        self._settings = settings
        self._clock = runtime.clock
        self._sender = RequestSender(transport, settings, key, runtime, patience)

    async def create(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        before_send: BeforeSend | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
    ) -> Created:
        """Ask for one prediction. Spends money; never call it twice for one intent.

        *before_send* is called synchronously just before the request is written; when it raises
        `NotSent`, nothing is sent (`not_after` makes one from a `send_by`). Raises
        `AmbiguousCreate` whenever the provider may have accepted; any other `ApiError` says
        that nothing was created. Cancelled after *before_send*, the outcome is unknown.
        """
        body: dict[str, object] = {"model": model, "input": dict(inputs)}
        if webhook_url is not None:
            body["webhook_url"] = webhook_url
        if webhook_secret is not None:
            body["webhook_secret"] = webhook_secret
        path = "prediction/" if self._settings.dialect == "card" else "prediction"
        sender = self._sender
        request = sender.request("POST", path, content=body, before_send=before_send)
        answer = await sender.send_create(request)
        request_id = sender.request_id(request, answer)
        error = status_errors.create_error(
            answer, request_id, model=model, now=sender.utc(), clean=sender.clean
        )
        if error is not None:
            raise error
        try:
            prediction_id = responses.created(answer.body, sender.clean)
        except MalformedResponse as exc:
            raise AmbiguousCreate(
                f"a create was accepted with an answer that cannot be read: {exc}",
                status=answer.status,
                request_id=request_id,
            ) from None
        return Created(prediction_id, request_id, answer.date)

    async def get(self, prediction_id: PredictionId) -> responses.Prediction:
        """Read one prediction. Raises `NotFound` on a 404."""

        def read(body: bytes) -> responses.Prediction:
            prediction = responses.prediction(body, self._sender.clean)
            if prediction.prediction_id not in {None, prediction_id}:
                raise MalformedResponse("the answer is about another prediction")
            return prediction

        return await self._sender.read(f"prediction/{quote_path(prediction_id)}", read)

    async def cancel(self, prediction_id: PredictionId) -> None:
        """Ask for a prediction to stop; it may still finish. Safe to repeat."""
        path = f"prediction/{quote_path(prediction_id)}/cancel"
        sender = self._sender
        await sender.with_retry(lambda: sender.send_ok(sender.request("POST", path)))

    async def executions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        offset: int = 0,
        limit: int = PAGE_ROWS,
    ) -> responses.ExecutionsPage:
        """One page of the organisation's history, created from *since* to *until*."""
        query = _listing_query(since, until, model)
        return (await self._page(query, offset, limit))[0]

    async def listing(
        self, *, since: datetime | None, until: datetime, model: str | None = None
    ) -> Listing:
        """The whole history between two moments, any status, by as many pages as it takes.

        *until* stays fixed while paging, so new executions shift nothing; choose it later than
        anything looked for, by the provider's clock. Raises `TransientApiError` when the pages
        do not end.
        """
        query = _listing_query(since, until, model)
        found: dict[PredictionId, responses.Execution] = {}
        unreadable = offset = 0
        began: datetime | None = None
        for number in range(_MAX_PAGES):
            page, page_began = await self._page(query, offset, PAGE_ROWS)
            if number == 0:
                began = page_began
            known = len(found)
            for row in page.rows:
                found.setdefault(row.prediction_id, row)
            unreadable += page.sent - len(page.rows)
            offset += page.sent
            if _is_last(page, offset):
                return Listing(tuple(found.values()), unreadable, began)
            if page.rows and len(found) == known:
                break  # the same rows again: paging is not understood, and would never end
        raise TransientApiError("the provider's listing does not end; it cannot be trusted")

    async def model(self, slug: str) -> responses.ModelInfo:
        """A model's description. Raises `NotFound` for an unknown one."""

        def read(body: bytes) -> responses.ModelInfo:
            return responses.model(self._sender.without_key(body))

        return await self._sender.read("model", read, {"slug": slug})

    async def presign(self, content_type: str) -> responses.Presigned:
        """A place for one image. Sent once: `uploads.upload` repeats it together with the PUT."""
        content = {"content_type": content_type, "file_type": "image"}
        sender = self._sender
        request = sender.request("POST", "upload/presign", content=content)
        try:
            answer = await sender.send_ok(request)
        except NotFound as exc:
            raise EndpointWrong(
                f"{self._settings.base_url!r} takes no uploads: {exc}; is its version prefix (/v1)"
                " missing?",
                status=exc.status,
                request_id=exc.request_id,
            ) from None
        place = sender.parse(lambda body: responses.presigned(body, sender.clean), answer, request)
        if not is_loopback(self._settings.base_url) and not (
            place.presigned_url.lower().startswith("https://")
            and place.public_url.lower().startswith("https://")
        ):
            raise TransientApiError(
                "the provider offered an upload address without https",
                request_id=sender.request_id(request, answer),
            )
        return place

    async def put(self, place: responses.Presigned, content: bytes, content_type: str) -> None:
        """Send the bytes of an image to its place: the headers it asks for, and not the key."""
        headers = dict(place.required_headers)
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = content_type
        request = HttpRequest(
            "PUT",
            place.presigned_url,
            headers,
            body=content,
            timeout_s=self._settings.timeout + len(content) / _SLOWEST_UPLOAD_BYTES_S,
            is_strangers=True,
        )
        sender = self._sender
        answer = await sender.send(request)
        error = status_errors.put_error(answer, now=sender.utc(), clean=sender.clean)
        if error is not None:
            raise error

    async def delete_file(self, file_id: str) -> None:
        """Remove an upload; already gone is fine. Safe to repeat."""
        path = f"files/{quote_path(file_id)}"
        sender = self._sender
        await sender.with_retry(
            lambda: sender.send_ok(sender.request("DELETE", path), absent_is_fine=True)
        )

    async def _page(
        self, query: Mapping[str, str], offset: int, limit: int
    ) -> tuple[responses.ExecutionsPage, datetime | None]:
        sender = self._sender
        paged = {**query, "limit": str(limit), "offset": str(offset)}

        async def once() -> tuple[responses.ExecutionsPage, datetime | None]:
            asked = self._clock.monotonic()
            request = sender.request("GET", "executions", query=paged)
            answer = await sender.send_ok(request)
            took = timedelta(seconds=self._clock.monotonic() - asked)
            page = sender.parse(
                lambda body: responses.executions(body, sender.clean), answer, request
            )
            return page, answer.date - took if answer.date is not None else None

        return await sender.with_retry(once)


def not_after(
    clock: Clock, send_by: Timestamp, left: Callable[[], None] | None = None
) -> BeforeSend:
    """For `create`: holds the request back after *send_by*, else tells *left* that it left.

    By the boot clock, which counts on while the machine sleeps. Where that has begun anew, as the
    clock of a shared ledger does, nobody knows how late it is.
    Source: docs/design/protocol.md 3.2.
    """

    def before_send() -> None:
        now = clock.now()
        if now.boot_id != send_by.boot_id:
            raise NotSent("the clock by which it had to be sent was set meanwhile")
        late_s = now.boot_s - send_by.boot_s
        if late_s > 0:
            raise NotSent(f"{late_s:.1f} s later than it had to be sent")
        if left is not None:
            left()

    return before_send


def _is_last(page: responses.ExecutionsPage, seen: int) -> bool:
    """A short page ends the listing, unless the provider itself counts more, or pages by less."""
    full = page.sent >= min(PAGE_ROWS, page.limit or PAGE_ROWS)
    return page.sent == 0 or not (full or seen < (page.total or 0))


def _listing_query(
    since: datetime | None, until: datetime | None, model: str | None
) -> dict[str, str]:
    """In whole seconds, which every RFC 3339 reader knows, rounded outwards."""
    query = {}
    if since is not None:
        query["from"] = _rfc3339(since)
    if until is not None:
        query["to"] = _rfc3339(until + timedelta(seconds=1, microseconds=-1))
    if model is not None:
        query["model"] = model
    return query


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
