"""The faults that are switched on, their probabilities, and the seeded dice that decide.

Owns every fault's and knob's name: a misspelt one is refused, because a fault that is
never injected makes a test pass for nothing. Knows nothing of what a fault does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

FAULTS: dict[str, str] = {
    "create_reset_before": "connection dies, nothing created",
    "create_reset_after": "created, connection dies with no answer",
    "create_500_before": "500, nothing created",
    "create_500_after": "created, 500",
    "create_504_html_after": "created, a gateway's HTML 504",
    "create_408_after": "created, 408",
    "create_timeout_after": "created, never answers",
    "create_late": "connection dies; arrives all the same `late_seconds` later",
    "create_garbled": "created, 200 with a body that is not JSON",
    "create_no_id": "created, 200 without predictionID",
    "create_slow": "created, answered `slow_seconds` later",
    "create_429_rate": "429 rate, nothing created",
    "create_429_concurrent": "429 concurrency, nothing created",
    "create_402": "402, nothing created",
    "create_401": "401, nothing created",
    "create_403": "403, nothing created",
    "create_400": "400, nothing created",
    "create_redirect": "308 to another address, nothing created",
    "get_500": "500",
    "get_503_html": "a gateway's HTML 503",
    "get_reset": "connection dies",
    "get_timeout": "never answers",
    "get_slow": "answered `slow_seconds` later",
    "get_429": "429 with Retry-After",
    "get_404": "404, this once",
    "get_garbled": "200 with a body that is not JSON",
    "get_unknown_word": "status 'warming'",
    "prediction_error": "ends in error",
    "prediction_filtered": "ends in a moderation refusal",
    "prediction_timeout": "ends in the provider's own timeout",
    "prediction_no_output": "succeeds without a URL",
    "prediction_short_output": "one URL fewer than num_outputs (none fewer for one)",
    "prediction_stuck": "never ends",
    "prediction_lost": "halfway its id turns 404 and leaves the listing; it is billed",
    "no_cost": "metrics without cost",
    "cost_higher": "costs `cost_factor` times the price",
    "bill_errors": "switch: predictions ending in error are billed",
    "bill_cancelled": "switch: cancelled predictions are billed",
    "cancel_ignored": "cancel is answered, the prediction goes on",
    "cancel_500": "500, nothing cancelled",
    "list_late": "a prediction's row appears only `list_lag` seconds after its create",
    "list_500": "500",
    "list_403": "403",
    "list_reset": "connection dies",
    "list_moving": "a later page begins `list_shift` rows early: rows come twice",
    "list_skipping": "a later page begins `list_shift` rows late: rows are missed",
    "list_strangers": "with a create, another program's prediction of its own input",
    "list_strangers_equal": "with a create, another program's prediction of an equal input",
    "model_500": "500",
    "presign_500": "500",
    "put_403": "403 signature mismatch",
    "put_500": "500",
    "download_truncated": "closes early under the full Content-Length",
    "download_truncated_short": "a file cut short, under a matching Content-Length",
    "download_html_200": "200 with an HTML page",
    "download_zero": "200 with no bytes",
    "download_wrong_type": "a GIF under the promised Content-Type",
    "download_drip": "a byte at a time, without end",
    "download_timeout": "never answers",
    "download_reset": "connection dies",
    "download_redirect": "302 to a good address",
    "download_redirect_loop": "302 to itself for ever",
    "download_redirect_private": "302 to http://10.0.0.1/",
    "download_403_expired": "403 as if the URL had expired",
    "download_404": "404",
    "download_500": "500",
    "webhook_lost": "never delivered",
    "webhook_repeat": "delivered twice",
    "webhook_late": "delivered `late_webhook_seconds` late",
    "webhook_early": "the prediction ends at once; its create answers `early_seconds` later",
}


class Knob(NamedTuple):
    default: float
    meaning: str


# Seconds are nominal: the speed divides them like every other time.
KNOBS: dict[str, Knob] = {
    "late_seconds": Knob(5.0, "how late a create of `create_late` arrives"),
    "slow_seconds": Knob(5.0, "what `create_slow` and `get_slow` add"),
    "list_lag": Knob(5.0, "how late a row of `list_late` appears"),
    "list_shift": Knob(1, "rows that `list_moving` and `list_skipping` shift by"),
    "late_webhook_seconds": Knob(10.0, "how late `webhook_late` is"),
    "early_seconds": Knob(0.5, "how long a create of `webhook_early` waits for its answer"),
    "webhook_retry_seconds": Knob(10.0, "between two tries of a delivery"),
    "cost_factor": Knob(2.0, "what `cost_higher` multiplies the price by"),
    "output_ttl": Knob(3600.0, "life of an output's URL"),
    "presign_ttl": Knob(900.0, "life of a presigned URL"),
    "total_cap": Knob(1000, "rows up to which the listing counts its total"),
    "isolated": Knob(0, "1: an id is 404 to the keys of another account"),
    "private_models": Knob(0, "1: `GET /model` is answered to keys alone"),
    "any_auth": Knob(0, "1: both auth headers are read in both dialects"),
    "create_status": Knob(200, "status of an accepted create"),
    "duration": Knob(10.0, "median seconds of a prediction"),
    "sigma": Knob(0.15, "sigma of the lognormal around it"),
    "latency": Knob(0.0, "seconds on the wire, each way"),
    "jitter": Knob(0.0, "up to this much more, each way"),
}

# Asked about by name at a moment of their own, never drawn among their family.
_ALONE = {
    "list_late",
    "list_moving",
    "list_skipping",
    "list_strangers",
    "list_strangers_equal",
    "webhook_early",
}


@dataclass(slots=True)
class _Switch:
    chance: float
    times: int | None = None
    """How often it may still strike; None: without end."""
    match: str = ""
    """Only where the prompt contains this."""

    def shown(self) -> float | dict[str, Any]:
        if self.times is None and not self.match:
            return self.chance
        return {"chance": self.chance, "times": self.times, "match": self.match}


class FaultBook:
    """Probabilities by name. Draws dice only for what is switched on, so that switching
    a fault never changes the durations or ids that other dice decide."""

    def __init__(self, rng: random.Random, knobs: Mapping[str, float]) -> None:
        self._rng = rng
        self._on: dict[str, _Switch] = {}
        self._families: dict[str, list[str]] = {}
        self._knobs = {n: knob.default for n, knob in KNOBS.items()} | dict(knobs)

    def __setitem__(self, name: str, value: object) -> None:
        self.merge({name: value})

    def merge(self, changes: Mapping[str, object]) -> None:
        """Switch faults (0 clears) and turn knobs; all or nothing. Raises `ValueError`."""
        switches = {n: _switch(n, v) for n, v in changes.items() if n not in KNOBS}
        knobs = {n: _number(n, v) for n, v in changes.items() if n in KNOBS}
        self._knobs.update(knobs)
        self._on = {n: s for n, s in {**self._on, **switches}.items() if s.chance > 0}
        self._families = {}
        for name in sorted(self._on.keys() - _ALONE):
            self._families.setdefault(name.partition("_")[0], []).append(name)

    def shown(self) -> dict[str, Any]:
        return {name: switch.shown() for name, switch in self._on.items()}

    @property
    def knobs(self) -> dict[str, float]:
        return dict(self._knobs)

    def knob(self, name: str) -> float:
        return self._knobs[name]

    def strikes(self, name: str, about: str = "") -> bool:
        switch = self._on.get(name)
        if switch is None or not self._falls(switch, about):
            return False
        _used(switch)
        return True

    def pick(self, family: str, about: str = "") -> str | None:
        """The one fault of *family* that strikes; of several, each is as likely."""
        names = self._families.get(family)
        if not names:
            return None
        hits = [name for name in names if self._falls(self._on[name], about)]
        if not hits:
            return None
        chosen = hits[0] if len(hits) == 1 else self._rng.choice(hits)
        _used(self._on[chosen])
        return chosen

    def _falls(self, switch: _Switch, about: str) -> bool:
        if switch.times == 0 or switch.match not in about:
            return False
        return switch.chance >= 1 or self._rng.random() < switch.chance


def _used(switch: _Switch) -> None:
    if switch.times is not None:
        switch.times -= 1


def _number(name: str, value: object) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    return value


def _switch(name: str, value: object) -> _Switch:
    if name not in FAULTS:
        raise ValueError(f"no fault or knob is called {name!r}; GET /_emulator/faults lists them")
    if not isinstance(value, Mapping):
        return _Switch(_number(name, value))
    unknown = set(value) - {"chance", "times", "match"}
    if unknown:
        raise ValueError(f"{name} takes chance, times and match, not {sorted(unknown)!r}")
    times = value.get("times")
    return _Switch(
        chance=_number(name, value.get("chance", 1)),
        times=None if times is None else int(_number(name, times)),
        match=str(value.get("match", "")),
    )
