"""The provider's reasons for a failure, as text and as a failure class.

Owns the documented tables below. Retries depend on the class, so it comes from the structured
`error_code` first; the text of the reason decides only where there is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from fluxbatch.domain.job import FailureClass

Clean = Callable[[str], str]
"""Redacts text from other programs for our messages, this client's key included."""

_CODE_CLASSES: tuple[tuple[re.Pattern[str], FailureClass], ...] = (
    (re.compile(r"invalid input|validation|bad request"), FailureClass.INVALID_INPUT),
)
_WORD_CLASSES: tuple[tuple[re.Pattern[str], FailureClass], ...] = (
    # First, because "the moderation service timed out" refuses no prompt.
    (re.compile(r"\btime ?outs?\b|timed out|time limit|deadline exceeded"), FailureClass.TIMEOUT),
    (
        re.compile(
            r"\bnsfw\b|\bsafety\b|\bmoderat(ed|ion)\b|\bflagged\b|sensitive content"
            r"|content (policy|policies|filter)|policy violation|prohibited"
        ),
        FailureClass.FILTERED,
    ),
)
"""The class by the text of a code or a reason; the first match wins, none: `provider_error`."""

_MAX_DEPTH = 6
_MAX_ITEMS = 8
_MAX_SEARCHED = 10_000
_NO_REASON = "the provider gave no reason"


class Failure(NamedTuple):
    """Why one prediction failed."""

    reason: str
    failure: FailureClass


def failure_of(answer: Mapping[str, object], clean: Clean) -> Failure:
    """The reason of a failed prediction, by either dialect, polled or pushed."""
    output = answer.get("output")
    said = [*_error_objects(output), *_error_objects(answer.get("error"))]
    code = next((text for error in said if (text := _code(error))), "")
    message = next((text for error in said if (text := _message(error))), "")
    reason = message or failure_text(answer) or _last_line(answer.get("logs"))
    if not reason and isinstance(output, str):
        reason = output
    if code and code not in reason:
        reason = f"{code}: {reason}" if reason else code
    return Failure(clean(reason) or _NO_REASON, _class_of(code, reason))


def failure_text(answer: object) -> str:
    """What an error body says: `error` or `message`, and `details`; empty if nothing."""
    if not isinstance(answer, Mapping):
        return _text(answer)
    headline = _text(answer.get("error")) or _text(answer.get("message"))
    details = _text(answer.get("details"))
    if not details or details in headline:
        return headline
    return f"{headline}: {details}" if headline else details


def _class_of(code: str, reason: str) -> FailureClass:
    for words, tables in ((code, (*_CODE_CLASSES, *_WORD_CLASSES)), (reason, _WORD_CLASSES)):
        plain = re.sub(r"[_\-.]+", " ", words[:_MAX_SEARCHED]).lower()
        for pattern, failure in tables:
            if pattern.search(plain):
                return failure
    return FailureClass.PROVIDER_ERROR


def _error_objects(value: object, depth: int = 0) -> Iterator[Mapping[str, object]]:
    """The objects in an `output` that speak of an error."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        if value.keys() & {"error_code", "error_message", "error", "code"}:
            yield value
        for name in ("error", "output"):
            yield from _error_objects(value.get(name), depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _error_objects(item, depth + 1)


def _code(error: Mapping[str, object]) -> str:
    return _text(error.get("error_code")) or _text(error.get("code"))


def _message(error: Mapping[str, object], depth: int = 0) -> str:
    for name in ("error_message", "message", "error"):
        if text := _text(error.get(name), depth + 1):
            return text
    return ""


def _text(value: object, depth: int = 0) -> str:
    """A reason as text, whatever shape it was sent in."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return _message(value, depth) or _compact(value)
    if isinstance(value, list):
        return "; ".join(filter(None, (_text(item, depth + 1) for item in value[:_MAX_ITEMS])))
    return "" if value is None or isinstance(value, bool) else str(value)


def _compact(value: Mapping[str, object]) -> str:
    if all(isinstance(item, str | int | float) for item in value.values()):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _last_line(logs: object) -> str:
    text = "\n".join(map(_text, logs)) if isinstance(logs, list) else _text(logs)
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
