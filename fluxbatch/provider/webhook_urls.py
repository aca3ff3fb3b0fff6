"""The secret webhook URL of every attempt, and the check of a call there.

Owns the addresses' secrets: they are derived from a key that lies in the dataset, so that
only the key must be kept and a restart knows them all. Decides without waiting
for anything; `webhook_listener` has the sockets, the worker decides what an end means to a job.
Source: docs/design/protocol.md 7; docs/design/provider-api.md "Webhook".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from fluxbatch.infra.redaction import sanitize
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import responses
from fluxbatch.provider.failure_reasons import Clean
from fluxbatch.provider.json_fields import MalformedResponse

KEY_BYTES = 32
MAX_WEBHOOK_BYTES = 256 * 1024
SECRET_HEADER = "X-Webhook-Secret"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_HEALTH = "health"


class WebhookAttempt(NamedTuple):
    """One create, by what the ledger knows of it before it leaves."""

    prediction_seq: int
    intended_us: int
    """UTC since 1970. A ledger restored from a backup gives the same numbers out again."""

    @classmethod
    def of(cls, prediction_seq: int, intended: Timestamp) -> WebhookAttempt:
        return cls(prediction_seq, (intended.utc - _EPOCH) // timedelta(microseconds=1))


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """The URL for one attempt's end, and its secret; neither is printed."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


class WebhookUrls:
    """Every attempt's address, derived. Addresses begin with *public_url*."""

    def __init__(self, key: bytes, public_url: str = "") -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a webhook key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self.public_url = public_url

    def address(self, attempt: WebhookAttempt) -> WebhookAddress:
        name = f"{attempt.prediction_seq}-{attempt.intended_us}"
        return WebhookAddress(self._url(name), self._secret(attempt))

    @property
    def health(self) -> WebhookAddress:
        """Whoever answers there with the secret is this dataset's listener."""
        return WebhookAddress(self._url(_HEALTH), self._derived("secret", _HEALTH))

    def attempt_at(self, path: str) -> WebhookAttempt | None:
        """The attempt whose address *path* ends with; what stands before it is a proxy's matter."""
        name, token = _last_two(path)
        match = _NAME.fullmatch(name)
        if match is None or not _is_same(token, self._derived("path", name)):
            return None
        return WebhookAttempt(int(match[1]), int(match[2]))

    def is_health(self, path: str) -> bool:
        name, token = _last_two(path)
        return name == _HEALTH and _is_same(token, self._derived("path", _HEALTH))

    def knows(self, attempt: WebhookAttempt, secret: str) -> bool:
        return _is_same(secret, self._secret(attempt))

    def _url(self, name: str) -> str:
        return f"{self.public_url}/{name}/{self._derived('path', name)}"

    def _secret(self, attempt: WebhookAttempt) -> str:
        return self._derived("secret", f"{attempt.prediction_seq}-{attempt.intended_us}")

    def _derived(self, purpose: str, name: str) -> str:
        text = f"{purpose}/{name}".encode()
        return hmac.digest(self._key, text, hashlib.sha256).hex()[:40]

    def __repr__(self) -> str:
        return "<webhook names>"


@dataclass(frozen=True, slots=True)
class WebhookVerdict:
    """What to answer to a request's head, and whose delivery its body is."""

    status: int
    attempt: WebhookAttempt | None = None
    """Set: read the body, and hand it to `receive`."""
    body: bytes = field(default=b"", repr=False)


_NOT_FOUND, _NOT_ALLOWED, _FORBIDDEN = WebhookVerdict(404), WebhookVerdict(405), WebhookVerdict(403)

OnWebhook = Callable[[WebhookAttempt, responses.Prediction | None], None]
"""Receives a verified delivery; None: it could not be read. Must not block."""


class WebhookReceiver:
    """What stands at the public address, without its sockets."""

    def __init__(
        self,
        names: WebhookUrls,
        on_webhook: OnWebhook,
        clean: Clean = sanitize,
        on_refused: Callable[[], object] = lambda: None,
    ) -> None:
        """*clean* makes the provider's words fit to be kept and shown; *on_refused* is told of each
        call that is not one of ours."""
        self._names = names
        self._on_webhook = on_webhook
        self._clean = clean
        self._on_refused = on_refused

    def authorize(self, method: str, path: str, secret: str) -> WebhookVerdict:
        """Whether a request is one of ours; before a byte of its body is read."""
        verdict = self._verdict(method, path, secret)
        if verdict.status != 200:
            self._on_refused()
        return verdict

    def _verdict(self, method: str, path: str, secret: str) -> WebhookVerdict:
        if self._names.is_health(path):
            health = self._names.health.secret.encode()
            return WebhookVerdict(200, body=health) if method == "GET" else _NOT_ALLOWED
        attempt = self._names.attempt_at(path)
        if attempt is None:
            return _NOT_FOUND
        if method != "POST":
            return _NOT_ALLOWED
        return WebhookVerdict(200, attempt) if self._names.knows(attempt, secret) else _FORBIDDEN

    def receive(self, attempt: WebhookAttempt, body: bytes | None) -> None:
        """Hand on what was delivered for *attempt*; None for a body that did not come whole."""
        prediction: responses.Prediction | None = None
        if body is not None:
            with suppress(MalformedResponse):  # the end it meant to tell is found by asking
                prediction = responses.webhook(body, self._clean)
        self._on_webhook(attempt, prediction)


def _last_two(path: str) -> tuple[str, str]:
    parts = path.rsplit("/", 2)
    return (parts[-2], parts[-1]) if len(parts) > 1 else ("", "")


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
