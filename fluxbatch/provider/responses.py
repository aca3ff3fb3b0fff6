"""The parsing of the provider's response bodies, whichever dialect wrote them.

Owns the union of both dialects: status words, output shapes, names of ids. Every
function takes untrusted bytes and returns a value or raises `MalformedResponse`; nothing else
ever leaves, however odd the bytes. Knows nothing of HTTP or of what a bad answer costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fluxbatch.domain.job import FailureClass, PredictionId
from fluxbatch.domain.money import Micros
from fluxbatch.infra.redaction import sanitize
from fluxbatch.provider.failure_reasons import Clean, failure_of
from fluxbatch.provider.json_fields import (
    MalformedResponse,
    count_of,
    is_header,
    is_url,
    micros_of,
    moment_of,
    object_of,
    read_id,
    rows_of,
    seconds_of,
    word_of,
)
from fluxbatch.provider.output_urls import urls_of


class Status(StrEnum):
    """What the provider's status words come down to."""

    NOT_FINISHED = "not_finished"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATUS_OF_WORD: Mapping[str, Status] = {
    **dict.fromkeys(("created", "starting", "processing", "queued"), Status.NOT_FINISHED),
    **dict.fromkeys(("success", "succeeded", "completed"), Status.SUCCEEDED),
    **dict.fromkeys(("error", "failed"), Status.FAILED),
    **dict.fromkeys(("cancelled", "canceled"), Status.CANCELLED),
}


_MAX_WORD_CHARS = 40


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction as the provider reports it; URLs and input are not printed."""

    prediction_id: PredictionId | None
    status: Status
    word: str
    """The status as the provider wrote it."""
    urls: tuple[str, ...] = field(default=(), repr=False)
    cost: Micros | None = None
    """`metrics.cost`; absent is not zero."""
    reason: str | None = None
    failure: FailureClass | None = None
    """With `reason`: set when it failed or was cancelled."""
    run_time_s: float | None = None
    input: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def has_known_word(self) -> bool:
        """False: a status word of neither dialect, taken as not finished; worth one notice."""
        return self.word.strip().lower() in _STATUS_OF_WORD


@dataclass(frozen=True, slots=True)
class Execution:
    """One row of the organisation's history."""

    prediction_id: PredictionId
    model: str
    status: Status
    word: str
    cost: Micros | None
    """`execution_cost`: the truth about money, None until the provider knows it."""
    created_at: datetime | None
    started_at: datetime | None = None
    run_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class ExecutionsPage:
    """One page of the history."""

    rows: tuple[Execution, ...]
    sent: int
    """Rows on the page, unreadable ones included."""
    total: int | None
    """A lower bound."""
    limit: int | None
    """Rows a page may have, where the provider says so."""


@dataclass(frozen=True, slots=True)
class Presigned:
    """Where one upload goes."""

    file_id: str
    presigned_url: str = field(repr=False)
    public_url: str
    expires_at: datetime | None
    required_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the provider describes it."""

    slug: str
    title: str
    output_type: str
    request_schema: Mapping[str, object] = field(default_factory=dict, repr=False)
    told_price: Micros | None = None
    """US dollars of one execution, where the provider says so: its estimate."""


def created(body: bytes, clean: Clean = sanitize) -> PredictionId:
    """The id in the answer to a create."""
    answer = object_of(body)
    found = read_id(answer) or read_id(answer.get("data"))
    if found is None:
        raise MalformedResponse("no prediction id in the answer")
    if not _may_be_kept(found, clean):
        raise MalformedResponse("the prediction id in the answer holds a secret")
    return found


def _may_be_kept(name: str, clean: Clean) -> bool:
    """Whether there is nothing to take out of *name*, which goes wherever its job goes."""
    return clean(name) == name


def prediction(body: bytes, clean: Clean = sanitize) -> Prediction:
    """The answer of `GET /prediction/{id}`."""
    return _prediction(object_of(body), clean)


def webhook(body: bytes, clean: Clean = sanitize) -> Prediction:
    """What a webhook delivers; always with an id."""
    told = _prediction(object_of(body), clean)
    if told.prediction_id is None:
        raise MalformedResponse("no usable prediction id in the delivery")
    return told


def executions(body: bytes, clean: Clean = sanitize) -> ExecutionsPage:
    """One page of `GET /executions`."""
    rows, head = rows_of(body)
    read = tuple(row for item in rows if (row := _execution(item, clean)) is not None)
    return ExecutionsPage(
        rows=read,
        sent=len(rows),
        total=count_of(head.get("total_count", head.get("total"))),
        limit=count_of(head.get("limit")),
    )


def presigned(body: bytes, clean: Clean = sanitize) -> Presigned:
    """The answer of `POST /upload/presign`."""
    answer = object_of(body)
    file_id, put_url, public_url = (
        word_of(answer.get(name)) for name in ("id", "presigned_url", "public_url")
    )
    if not file_id or not is_url(put_url) or not is_url(public_url):
        raise MalformedResponse("no usable id, presigned_url or public_url in the answer")
    if not _may_be_kept(file_id, clean) or clean(public_url) != sanitize(public_url):
        raise MalformedResponse(
            "the id or public_url of the upload holds a secret, or is far too long"
        )
    headers = answer.get("required_headers") or {}
    if not isinstance(headers, Mapping) or not all(map(is_header, headers.items())):
        raise MalformedResponse("required_headers are no headers")
    return Presigned(
        file_id, put_url, public_url, moment_of(answer.get("expires_at")), dict(headers)
    )


def model(body: bytes) -> ModelInfo:
    """The answer of `GET /model`."""
    answer = object_of(body)
    schema = answer.get("request_schema")
    if not isinstance(schema, Mapping):
        raise MalformedResponse("no request_schema in the answer")
    slug, title, output_type = (
        sanitize(word_of(answer.get(name))) for name in ("slug", "title", "output_type")
    )
    return ModelInfo(slug, title, output_type, dict(schema), _told_price(answer.get("cost")))


def _told_price(cost: object) -> Micros | None:
    """A fixed price of one execution in US dollars; any other kind says nothing about a job."""
    if not isinstance(cost, Mapping) or cost.get("currency", "USD") != "USD":
        return None
    if cost.get("type", "fixed") != "fixed" or cost.get("unit", "execution") != "execution":
        return None
    return micros_of(cost.get("amount")) or None


def _prediction(answer: Mapping[str, object], clean: Clean) -> Prediction:
    word = answer.get("status")
    if not isinstance(word, str) or not word.strip():
        raise MalformedResponse("no status in the answer")
    status = _STATUS_OF_WORD.get(word.strip().lower())
    if status is None:
        status, word = Status.NOT_FINISHED, clean(word)[:_MAX_WORD_CHARS]
    metrics = answer.get("metrics")
    measured: Mapping[str, object] = metrics if isinstance(metrics, Mapping) else {}
    given = answer.get("input")
    failed = failure_of(answer, clean) if status in {Status.FAILED, Status.CANCELLED} else None
    reason, failure = failed or (None, None)
    found = read_id(answer)
    return Prediction(
        prediction_id=found if found is not None and _may_be_kept(found, clean) else None,
        status=status,
        word=word.strip(),
        urls=urls_of(answer.get("output")) if status is Status.SUCCEEDED else (),
        cost=micros_of(measured.get("cost")),
        reason=reason,
        failure=FailureClass.CANCELLED if status is Status.CANCELLED else failure,
        run_time_s=seconds_of(measured.get("predict_time")),
        input=dict(given) if isinstance(given, Mapping) else None,
    )


def _execution(item: object, clean: Clean) -> Execution | None:
    if not isinstance(item, Mapping) or (found := read_id(item)) is None:
        return None
    if not _may_be_kept(found, clean):
        return None
    word = word_of(item.get("status"))
    return Execution(
        prediction_id=found,
        model=clean(word_of(item.get("model"))),
        status=_STATUS_OF_WORD.get(word.lower(), Status.NOT_FINISHED),
        word=clean(word)[:_MAX_WORD_CHARS],
        cost=micros_of(item.get("execution_cost")),
        created_at=moment_of(item.get("created_at")),
        started_at=moment_of(item.get("started_at")),
        run_time_s=seconds_of(item.get("run_time")),
    )
