"""The values that cross the emulator's border: a call, its reply, and the fault on the wire.

The core decides everything and says it in these; whoever carries a reply out (the HTTP
layer, or a simulation in the same process) decides nothing. Knows no sockets, no tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

JsonValue: TypeAlias = Any  # what json.loads gives; the core checks before it trusts
Ending = Literal["answer", "reset", "hold", "drip"]


@dataclass(frozen=True, slots=True)
class WireFault:
    """What happens to a reply on its way; the default is that it simply arrives."""

    ending: Ending = "answer"
    """reset: the connection dies unanswered; hold: it stays open, silent, until the client
    goes; drip: the body comes a byte at a time, without end."""
    delay_s: float = 0.0
    """Before the reply leaves (real seconds: already divided by the speed)."""
    body_share: float = 1.0
    """Send only this share of the body under the full Content-Length, then close."""


ARRIVES = WireFault()


@dataclass(frozen=True, slots=True)
class Picture:
    """An image yet to be painted. Equal pictures are painted to equal bytes."""

    prompt: str
    seed: int
    index: int
    format: str
    quality: int
    megapixels: float
    size: tuple[int, int] | None
    control_name: str | None
    control: bytes | None = field(compare=False, repr=False, default=None)
    """Bytes of an uploaded control image, named by `control_name`."""
    kept_share: float = 1.0
    """Below 1: a file cut short, under an honest Content-Length."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, as far as the provider looks at it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; `body` is bytes, a `Picture`, or else JSON."""

    status: int
    body: JsonValue = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    fate: WireFault = ARRIVES

    def payload(self, paint: Callable[[Picture], bytes]) -> bytes:
        """The body's bytes as they would be sent in full."""
        if isinstance(self.body, Picture):
            return paint(self.body)
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()

    def with_fate(self, fate: WireFault) -> Reply:
        return replace(self, fate=fate)


def html_page(status: int, title: str) -> Reply:
    """What a gateway sends instead of JSON."""
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status, page.encode(), content_type="text/html")


@dataclass(frozen=True, slots=True)
class WebhookPost:
    """One webhook POST to make; `ProviderCore.delivered` takes its outcome."""

    prediction_id: str
    url: str
    body: JsonValue
    headers: Mapping[str, str]
    attempt: int
