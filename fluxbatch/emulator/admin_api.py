"""`/_emulator/*`: what tests and demos switch and read while the emulator runs.

    GET  stats         the billing, the witness, the counts
    GET  predictions   every prediction with its input, end and cost
    GET  faults        what is switched on, the knobs, every known name with its meaning
    POST faults        {name: probability | {"chance", "times", "match"} | knob's value}; merges
    POST keys          {"revoke": [...], "restore": [...]}
    POST balance       {"key"?, "usd": x | null}; null is unlimited, no key is every key
    GET, POST limits   {"rate", "window", "concurrent"}
    POST expect        {"repeats": n}: so many equal inputs are no double spend
    POST reset         a provider that was never called, at the same address

Injected 429s and 402s are not counted as refused: those counts are the limits' own.
No part of the provider's API. Reads the core's billing and turns its switches; a request it
does not understand is a 400 that says why, never a silent success.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.faults import FAULTS, KNOBS
from fluxbatch.emulator.messages import Call, Reply
from fluxbatch.emulator.prediction import EmulatedPrediction


def handle_admin(core: ProviderCore, call: Call, name: str) -> Reply:
    """Answer `/_emulator/{name}`."""
    core.advance()
    try:
        return _read(core, name) if call.method == "GET" else _switch(core, name, _object(call))
    except (ValueError, TypeError) as exc:
        return Reply(400, {"error": str(exc)})


def stats(core: ProviderCore) -> dict[str, Any]:
    """The billing and the witness in one flat object (`accounts` apart)."""
    now = core.advance()
    billing, uploads, counts = core.executor.billing, core.storage.uploads, core.counts
    return {
        "created": billing.created,
        "billed": billing.billed,
        "billed_micro_usd": billing.billed_micro_usd,
        "in_flight_micro_usd": billing.in_flight_micro_usd,
        "double_billed": billing.double_billed,
        "double_created": billing.double_created,
        "expected_repeats": billing.expected_repeats,
        **counts,
        **core.executor.witnessed(now),
        "polls_per_prediction": counts["gets"] / billing.created if billing.created else 0.0,
        "presigned": uploads.presigned,
        "uploads": uploads.stored,
        "deletes": uploads.deleted,
        "downloads": core.storage.downloads,
        "webhooks_delivered": core.hooks.delivered,
        "webhooks_failed": core.hooks.failed,
        "strangers": len(core.executor.history) - billing.created,
        "first_create_s": billing.first_create_s,
        "last_create_s": billing.last_create_s,
        "now_s": now,
        "accounts": core.executor.witnessed_by_account(now),
    }


def _read(core: ProviderCore, name: str) -> Reply:
    match name:
        case "stats":
            return Reply(200, stats(core))
        case "faults" | "knobs":
            return Reply(
                200,
                {
                    "faults": core.faults.shown(),
                    "knobs": core.faults.knobs,
                    "known": {**FAULTS, **{n: k.meaning for n, k in KNOBS.items()}},
                },
            )
        case "predictions":
            return Reply(200, {"predictions": [_row(core, p) for p in core.executor.history]})
        case "limits":
            return Reply(200, _limits(core))
        case _:
            return Reply(404, {"error": f"no GET /_emulator/{name}"})


def _switch(core: ProviderCore, name: str, body: Mapping[str, Any]) -> Reply:
    match name:
        case "faults" | "knobs":
            core.faults.merge(body)
            return _read(core, "faults")
        case "reset":
            core.begin_anew()
            return Reply(200, stats(core))
        case "keys":
            core.gate.revoked |= set(body.get("revoke", ()))
            core.gate.revoked -= set(body.get("restore", ()))
            return Reply(200, {"revoked": sorted(core.gate.revoked)})
        case "balance":
            return _set_balance(core, body)
        case "limits":
            return _set_limits(core, body)
        case "expect":
            core.executor.billing.expected_repeats = int(body["repeats"])
            return Reply(200, {"repeats": core.executor.billing.expected_repeats})
        case _:
            return Reply(404, {"error": f"no POST /_emulator/{name}"})


def _set_balance(core: ProviderCore, body: Mapping[str, Any]) -> Reply:
    usd, key = body["usd"], body.get("key")
    account = None if key is None else core.gate.account_of(key) or key
    core.executor.billing.set_balance(account, None if usd is None else round(usd * 1_000_000))
    return Reply(200, dict(body))


def _set_limits(core: ProviderCore, body: Mapping[str, Any]) -> Reply:
    names = {"creates": "creates", "rate": "creates", "window": "window_s"}
    names |= {"window_s": "window_s", "concurrent": "concurrent"}
    unknown = set(body) - set(names)
    if unknown:
        raise ValueError(f"limits are rate, window and concurrent, not {sorted(unknown)!r}")
    changes = {names[name]: value for name, value in body.items()}
    core.executor.limits = replace(core.executor.limits, **changes)
    return Reply(200, _limits(core))


def _limits(core: ProviderCore) -> dict[str, float]:
    limits = core.executor.limits
    return {
        "rate": limits.creates,
        "window": limits.window_s,
        "concurrent": limits.concurrent,
    }


def _row(core: ProviderCore, prediction: EmulatedPrediction) -> dict[str, Any]:
    ended_at = prediction.ended_at
    return {
        "id": prediction.id,
        "key": prediction.key,
        "account": prediction.account,
        "model": prediction.model,
        "input": prediction.input,
        "state": prediction.state,
        "outcome": prediction.outcome,
        "billed": prediction.billed,
        "billed_micro_usd": prediction.cost_micro_usd if prediction.billed else 0,
        "repeats_another": prediction.repeats_another,
        "stranger": prediction.stranger,
        "outputs": prediction.output_count,
        "webhook_url": prediction.webhook_url,
        "created_s": prediction.created_at,
        "ended_s": ended_at,
        "created_at": core.clock.stamp(prediction.created_at),
        "ended_at": None if ended_at is None else core.clock.stamp(ended_at),
    }


def _object(call: Call) -> Mapping[str, Any]:
    body = json.loads(call.body or b"{}")
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    for required in {"balance": ("usd",), "expect": ("repeats",)}.get(
        call.path.strip("/").rpartition("/")[2], ()
    ):
        if required not in body:
            raise ValueError(f"{required!r} is required")
    return body
