"""The error table of status codes, row by row as in the contract.

A create and a read translate the same code differently, because only one of them spends
money: what leaves a create's fate open is `AmbiguousCreate`, and only that. Source:
docs/design/provider-api.md "Errors"; docs/design/protocol.md 2.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime

from fluxbatch.errors import (
    AmbiguousCreate,
    ApiError,
    BalanceTooLow,
    EndpointWrong,
    KeyRefused,
    NotFound,
    QuotaExceeded,
    RejectedRequest,
    TransientApiError,
)
from fluxbatch.infra.redaction import strip_markup
from fluxbatch.provider.failure_reasons import Clean, failure_text
from fluxbatch.provider.json_fields import json_or_none
from fluxbatch.provider.transport import HttpResponse, http_date

_CONCURRENCY = re.compile(r"concurren|in[ -]flight|simultaneous|parallel|unfinished", re.I)
_MAX_REASON_BYTES = 20_000

_ABSURD_WAIT_S = 3_600.0
_LONGEST_WAIT_S = 600.0


def create_error(
    response: HttpResponse, request_id: str, *, model: str, now: datetime, clean: Clean
) -> ApiError | None:
    """The error a create's answer stands for; None for a 2xx."""
    status = response.status
    if 200 <= status < 300:
        return None
    words = detail(response, clean)
    if is_ambiguous(status):
        return AmbiguousCreate(
            f"the provider answered a create with {status}{words}; it may have accepted it",
            status=status,
            request_id=request_id,
        )
    if status == 404:
        return EndpointWrong(
            f"the provider has no model {model!r} (or no such address){words}",
            status=status,
            request_id=request_id,
        )
    return _common(response, request_id, words, now)


def read_error(
    response: HttpResponse, request_id: str, *, now: datetime, clean: Clean
) -> ApiError | None:
    """The error a read's answer stands for; None for a 2xx. Safe to repeat, so 5xx is transient."""
    status = response.status
    if 200 <= status < 300:
        return None
    words = detail(response, clean)
    if is_ambiguous(status):
        return TransientApiError(
            f"the provider answered {status}{words}",
            status=status,
            request_id=request_id,
            retry_after_s=retry_after_s(response, now),
        )
    if status == 404:
        return NotFound(
            f"the provider does not know it{words}", status=status, request_id=request_id
        )
    return _common(response, request_id, words, now)


def put_error(response: HttpResponse, *, now: datetime, clean: Clean) -> ApiError | None:
    """The error a storage's answer to an upload stands for.

    401, 403, 404 and 410 speak of the presigned URL, not of the key: a fresh one may work.
    """
    status = response.status
    if 200 <= status < 300:
        return None
    words = detail(response, clean)
    message = f"the upload was answered with {status}{words}"
    if 400 <= status < 500 and status not in {401, 403, 404, 408, 410, 425, 429}:
        return RejectedRequest(message, status=status)
    return TransientApiError(message, status=status, retry_after_s=retry_after_s(response, now))


def is_ambiguous(status: int) -> bool:
    """Whether a create so answered may have been accepted all the same."""
    return status == 408 or not 300 <= status < 500


def _common(response: HttpResponse, request_id: str, words: str, now: datetime) -> ApiError:
    """What 3xx and 4xx mean whatever was asked; neither 404 nor 408 come here."""
    status = response.status
    if status == 429:
        return QuotaExceeded(
            f"over a limit of the provider{words}",
            status=status,
            request_id=request_id,
            retry_after_s=retry_after_s(response, now),
            by_concurrency=_CONCURRENCY.search(_words(response)) is not None,
        )
    if status == 402:
        return BalanceTooLow(
            f"the balance is too low{words}",
            status=status,
            request_id=request_id,
            retry_after_s=retry_after_s(response, now),
        )
    if status in {401, 403}:
        return KeyRefused(f"the key was refused{words}", status=status, request_id=request_id)
    if status < 400:
        return EndpointWrong(
            f"the provider answered {status}: the address is wrong; set provider.base_url to"
            " where it redirects, if you trust that",
            status=status,
            request_id=request_id,
        )
    return RejectedRequest(
        f"the provider answered {status}{words}", status=status, request_id=request_id
    )


def detail(response: HttpResponse, clean: Clean) -> str:
    """`: ` and the provider's message, or nothing."""
    tidy = clean(_words(response))
    return f": {tidy}" if tidy else ""


def _words(response: HttpResponse) -> str:
    """What the body says: by either dialect's names, else its text without markup."""
    answer = json_or_none(response.body)
    if isinstance(answer, Mapping):
        return failure_text(answer)
    return strip_markup(response.body[:_MAX_REASON_BYTES].decode("utf-8", "replace"))


def retry_after_s(response: HttpResponse, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, written as seconds or as a date; ten minutes at most.

    A date is read against the provider's own clock where the answer has it. More than an hour
    is no wait but a slip (an epoch, a date of another decade): it is not there.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until = http_date(text)
        if until is None:
            return None
        seconds = (until - (response.date or now)).total_seconds()
    if not math.isfinite(seconds) or seconds > _ABSURD_WAIT_S:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)
