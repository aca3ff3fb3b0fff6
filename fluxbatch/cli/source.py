"""The source of a command: a batch's, under the flags that were typed; its keys are never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluxbatch.cli.console import Console
from fluxbatch.config.api_keys import ApiKey, Keyring
from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.config.trust import Origin
from fluxbatch.engine.source import BatchSource
from fluxbatch.errors import ConfigError


class CommandSource(BatchSource):
    """A config, or the defaults around a manifest, under the flags that were given."""

    def __init__(
        self,
        console: Console,
        path: Path | None = None,
        *,
        budget: str = "",
        base_url: str = "",
        plan: Path | None = None,
        kind: str = "",
        log_file: str = "",
        log_format: str = "",
        give_up: str = "",
    ) -> None:
        """*plan* is the saved plan that *base_url* comes from, where nobody typed it."""
        if path is not None and not str(path).strip(" ."):
            # An empty shell variable arrives as the current folder; nobody means that by nothing.
            raise ConfigError(
                "the manifest is the current folder; name it, or give its path in full"
            )
        sections = {
            "budget": {"per_run": budget},
            "provider": {"base_url": base_url, "give_up": give_up},
            "log": {"file": log_file, "format": log_format},
        }
        flags: dict[str, Any] = {"format": kind} if kind else {}
        for section, typed in sections.items():
            if any(typed.values()):
                flags[section] = {name: value for name, value in typed.items() if value}
        super().__init__(path, flags)
        if plan is not None and base_url:
            self.settings._base_url_from = Origin("plan", f"the plan {str(plan)!r}")
        self._console = console
        self._keys = Keyring()

    def keys(self) -> Keyring:
        """Every key there is; from here on none of them is ever shown."""
        if not self._keys:
            self._keys = super().keys()
            hide_keys(self._console, self._keys, self.environ)
        return self._keys

    def name_provider(self) -> None:
        """Say who is asked where it is not the usual provider: the key goes there."""
        address = self.settings.provider.base_url
        if address != DEFAULT_BASE_URL:
            self._console.info(f"provider {address} (from {self.settings.base_url_from.words})")


def hide_keys(console: Console, keys: Sequence[ApiKey], environ: Mapping[str, str]) -> None:
    """None of *keys* is ever shown; the one of the provider's own tools is named."""
    console.redact_key(keys)
    if "EACH_API_KEY" in environ and not any(
        name.startswith("EACHLABS_API_KEY") for name in environ
    ):
        console.info("note: the key is taken from EACH_API_KEY; its name here is EACHLABS_API_KEY")
