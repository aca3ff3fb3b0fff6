"""The router of HTTP requests, as values, onto the core and back.

Pure, so that a simulation can put it behind a fake transport. Owns paths, methods and
what every response carries (`Date`, `X-Request-Id`); decides nothing else.
"""

from __future__ import annotations

import json
from dataclasses import replace

from fluxbatch.emulator import admin_api
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Call, JsonValue, Reply

MAX_REQUEST_BYTES = 101 * 1024 * 1024


def handle_call(core: ProviderCore, call: Call) -> Reply:
    """Answer one call that arrives now."""
    reply = _routed(core, call)
    core.counts["calls"] += 1
    request_id = call.headers.get("x-request-id") or f"emulator-{core.counts['calls']}"
    headers = {"Date": core.clock.http_date(), "X-Request-Id": request_id, **reply.headers}
    return replace(reply, headers=headers)


def _routed(core: ProviderCore, call: Call) -> Reply:
    root, *rest = [part for part in call.path.split("/") if part] or [""]
    match root:
        case "v1":
            return _api(core, call, rest)
        case "_emulator":
            return admin_api.handle_admin(core, call, "/".join(rest))
        case "_storage" if call.method == "PUT":
            return core.storage.put(call.path, call.query, call.headers, call.body)
        case "files" if call.method in ("GET", "HEAD") and len(rest) == 1:
            return core.storage.file(rest[0])
        case "outputs" if call.method in ("GET", "HEAD") and len(rest) == 2:
            prediction = core.executor.find(rest[0], core.advance())
            return core.storage.download(call.path, call.query, prediction)
        case _:
            return core.replies.error(404, "Not found")


def _api(core: ProviderCore, call: Call, rest: list[str]) -> Reply:
    key = _key(core, call)
    match (call.method, *rest):
        case ("POST", "prediction"):
            return core.create(key, _json(call.body))
        case ("GET", "prediction", prediction_id):
            return core.get(key, prediction_id)
        case ("POST", "prediction", prediction_id, "cancel"):
            return core.cancel(key, prediction_id)
        case ("GET", "executions") if core.settings.has_listing:
            return core.executions(key, call.query)
        case ("GET", "model"):
            return core.model(key, call.query.get("slug", ""))
        case ("POST", "upload", "presign"):
            return core.presign(key, _json(call.body))
        case ("DELETE", "files", upload_id):
            return core.delete_file(key, upload_id)
        case ("GET", "webhooks", prediction_id):
            return core.webhooks(key, prediction_id)
        case _:
            return core.replies.error(404, "Not found")


def _key(core: ProviderCore, call: Call) -> str | None:
    key = core.dialect.key_of(call.headers)
    if key is None and core.faults.knob("any_auth"):
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        return call.headers.get("x-api-key") or bearer or None
    return key


def _json(body: bytes) -> JsonValue:
    try:
        return json.loads(body)
    except ValueError:
        return None
