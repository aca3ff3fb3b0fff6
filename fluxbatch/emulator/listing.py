"""`GET /executions`: the organisation's history, newest first, page by page.

Reads predictions in the order they were created and changes nothing. A row never carries
the input; the total is counted up to a cap, as the provider does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fluxbatch.emulator.clock import ProviderClock, parse_time
from fluxbatch.emulator.prediction import EmulatedPrediction, State

_STATUSES = {"created", "starting", "success", "error", "cancelled"}


@dataclass(frozen=True, slots=True)
class Question:
    """One request for a page; `parse` refuses what the provider would refuse."""

    limit: int
    offset: int
    model: str | None
    statuses: frozenset[str]
    since: datetime | None
    until: datetime | None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Question:
        """Raises `ValueError` in the provider's words."""
        statuses = frozenset(filter(None, query.get("status", "").split(",")))
        if not statuses <= _STATUSES:
            raise ValueError(f"status must be among {', '.join(sorted(_STATUSES))}")
        return cls(
            limit=_whole("limit", query.get("limit", "20"), 1, 100),
            offset=_whole("offset", query.get("offset", "0"), 0, None),
            model=query.get("model") or None,
            statuses=statuses,
            since=parse_time(query["from"]) if query.get("from") else None,
            until=parse_time(query["to"]) if query.get("to") else None,
        )


def status_word(prediction: EmulatedPrediction, now: float) -> str:
    """The listing has words of its own, the same in both dialects."""
    if prediction.state is State.ALIVE:
        return "created" if now < prediction.starts_at else "starting"
    ended = {State.SUCCEEDED: "success", State.FAILED: "error", State.CANCELLED: "cancelled"}
    return ended[prediction.state]


def page(
    question: Question, history: Sequence[EmulatedPrediction], clock: ProviderClock, total_cap: int
) -> tuple[list[EmulatedPrediction], dict[str, Any]]:
    """The predictions of one page, and the fields around them."""
    now = clock.now()
    wanted = question.offset + question.limit
    counted_to = max(wanted, total_cap)
    rows: list[EmulatedPrediction] = []
    total = 0
    capped = False
    for prediction in _matching(question, history, clock, now):
        if total >= counted_to:
            capped = True
            break
        if question.offset <= total < wanted:
            rows.append(prediction)
        total += 1
    around = {
        "total_count": total,
        "total_capped": capped,
        "limit": question.limit,
        "offset": question.offset,
    }
    return rows, around


def row(prediction: EmulatedPrediction, clock: ProviderClock, output: Any) -> dict[str, Any]:
    ended_at = prediction.ended_at
    now = clock.now()
    return {
        "id": prediction.id,
        "model": prediction.model,
        "status": status_word(prediction, now),
        "execution_cost": None if ended_at is None else prediction.cost_micro_usd / 1_000_000,
        "run_time": None if ended_at is None else _run_time(prediction, ended_at),
        "created_at": clock.stamp(prediction.created_at),
        "started_at": clock.stamp(prediction.starts_at) if now >= prediction.starts_at else None,
        "completed_at": None if ended_at is None else clock.stamp(ended_at),
        "output": output,
    }


def _run_time(prediction: EmulatedPrediction, ended_at: float) -> float:
    return round(max(0.0, ended_at - prediction.starts_at), 3)


def _matching(
    question: Question, history: Sequence[EmulatedPrediction], clock: ProviderClock, now: float
) -> Iterator[EmulatedPrediction]:
    for prediction in reversed(history):
        created = clock.utc(prediction.created_at)
        if question.since is not None and created < question.since:
            return
        if question.until is not None and created > question.until:
            continue
        if not prediction.listed_from <= now < prediction.lost_from:
            continue
        if question.model is not None and prediction.model != question.model:
            continue
        if question.statuses and status_word(prediction, now) not in question.statuses:
            continue
        yield prediction


def _whole(name: str, text: str, low: int, high: int | None) -> int:
    if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be a whole number {bounds}")
    return int(text)
