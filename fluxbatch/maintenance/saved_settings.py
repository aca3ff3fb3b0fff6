"""The settings by which a dataset's provider is reached, remembered from its latest run.

A verb that takes a folder alone must find the endpoint, the dialect and the keys' names again.
A ledger may have come from somebody else, so it may not send the key to an address of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.config.loading import load_settings
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.ledger.queries.audit import latest_run

_KEPT = ("model", "price", "limits", "budget", "provider", "reconcile", "sink", "inputs", "keys")
"""Not the manifest nor what shapes its jobs: none is read."""


def saved_settings(
    folder: Folder, flags: Mapping[str, Any], environ: Mapping[str, str], *, run_cap: bool = True
) -> Settings:
    """Flag over environment over the latest run's settings over defaults; without *run_cap* the
    latest run's `budget.per_run` was for that run alone.

    Raises `ConfigError` where *folder* is no dataset, a setting is bad, or the ledger alone
    names an endpoint that is neither the provider's nor this machine's.
    """
    with folder.reader() as reader:
        run = latest_run(reader)
    saved: dict[str, Any] = json.loads(run.settings_json) if run is not None else {}
    base = {name: saved[name] for name in _KEPT if name in saved}
    if isinstance(provider := base.get("provider"), dict):
        provider.pop("trust_base_url", None)  # that is for whoever has the key to say
    if isinstance(budget := base.get("budget"), dict) and not run_cap:
        budget.pop("per_run", None)
    if isinstance(keys := base.get("keys"), list):
        base["keys"] = [key for key in keys if _may_read(key, environ)]
    if run is not None:
        # A dataset of before there were sidecars has none; `repair` is not what brings them in.
        base["sink"] = {"sidecar": False, **base.get("sink", {})}
    settings = load_settings(None, flags, environ, base=base)
    address = settings.provider.base_url
    is_ours = address == DEFAULT_BASE_URL or is_loopback(address)
    if not is_ours and address != load_settings(None, flags, environ).provider.base_url:
        raise ConfigError(
            f"the dataset's latest run used {address!r}; to send your key there, name it with"
            " --base-url or EACHLABS_BASE_URL"
        )
    return settings


def _may_read(key: object, environ: Mapping[str, str]) -> bool:
    """Whether a key that the ledger names may be looked up: no file is opened on its word alone."""
    reference = key.get("key") if isinstance(key, dict) else None
    kind, _, path = str(reference).partition(":")
    return kind != "file" or path == environ.get("EACHLABS_API_KEY_FILE")
