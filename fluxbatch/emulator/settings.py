"""The settings of the emulator, given once at its start.

Times are nominal seconds, as the contract states them; `speed` divides every one of them
at the moment it is used, in the core and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DialectName = Literal["card", "docs"]
RateCounts = Literal["accepted", "attempted"]


@dataclass(frozen=True, slots=True)
class ServedLimits:
    """One account's allowance; 0 turns a limit off."""

    creates: int = 100
    window_s: float = 60.0
    concurrent: int = 10
    counts: RateCounts = "accepted"
    """`attempted`: a refused create takes a place in the window, too."""
    tells_when: bool = True
    """Whether a refusal has a `Retry-After`."""


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Defaults are the card's: 10 s jobs, 100 creates in any 60 s, 10 unfinished at once."""

    limits: ServedLimits = field(default_factory=ServedLimits)
    duration_s: float = 10.0
    """Median of the lognormal."""
    sigma: float = 0.15
    latency_s: float = 0.0
    """Each way."""
    jitter_s: float = 0.0
    """Up to this much more, each way."""
    speed: float = 1.0
    image_size: tuple[int, int] | None = None
    """None: from `megapixels` and the control image."""
    dialect: DialectName = "card"
    has_listing: bool = True
    """Whether `GET /executions` is there; the card knows none."""
    keys: tuple[tuple[str, str], ...] = ()
    """(key, account) pairs; empty: every key is valid and its own account."""

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed must be above 0, got {self.speed!r}")
        if self.duration_s < 0 or self.sigma < 0:
            raise ValueError("duration and sigma cannot be negative")


def parse_keys(text: str) -> tuple[tuple[str, str], ...]:
    """Read `--keys a,b:team,c:team`: keys that share a name after the colon share limits."""
    pairs = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, account = part.partition(":")
        pairs.append((key, account or key))
    return tuple(pairs)


def parse_image_size(text: str) -> tuple[int, int] | None:
    """Read `--image-size 64` or `640x480`; empty means "as the request asks"."""
    if not text:
        return None
    wide, _, high = text.lower().partition("x")
    try:
        size = (int(wide), int(high or wide))
    except ValueError:
        raise ValueError(f"image size {text!r} is neither N nor WxH") from None
    if min(size) < 1 or max(size) > 8192:
        raise ValueError(f"image size {text!r} is outside 1 to 8192 pixels")
    return size
