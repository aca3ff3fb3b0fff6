"""The settings and keys of one invocation: flag over environment over `.env` over file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluxbatch.cli.console import Console
from fluxbatch.config.api_keys import ApiKey, keys_for
from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.config.loading import environment, load_settings
from fluxbatch.config.settings import Settings
from fluxbatch.config.trust import Origin
from fluxbatch.errors import ConfigError

_CONFIGS = (".yaml", ".yml", ".toml")


@dataclass(frozen=True, slots=True)
class BatchSource:
    """A command's source, read."""

    settings: Settings
    manifest: Path | None
    """None: the settings' own, or a sweep alone."""
    environ: Mapping[str, str]

    def here(self, place: Path) -> BatchSource:
        """With a manifest from stdin or a URL written into the folder *place*: a file."""
        if self.manifest is None:
            return self
        from fluxbatch.manifest.readers.remote_file import localize

        return replace(self, manifest=localize(self.manifest, place))

    def name_provider(self, console: Console) -> None:
        """Say who is asked where it is not the usual provider: the key goes there."""
        address = self.settings.provider.base_url
        if address != DEFAULT_BASE_URL:
            console.info(f"provider {address} (from {self.settings.base_url_from.words})")

    def keys(self, console: Console) -> list[ApiKey]:
        """Every key there is; from here on none of them is ever shown."""
        keys = keys_for(self.settings, self.environ)
        console.redact_key(keys)
        if "EACH_API_KEY" in self.environ and not any(
            name.startswith("EACHLABS_API_KEY") for name in self.environ
        ):
            console.info(
                "note: the key is taken from EACH_API_KEY; its name here is EACHLABS_API_KEY"
            )
        return keys

    def any_key(self, console: Console) -> ApiKey | None:
        """One key, for what needs none as a rule."""
        try:
            return self.keys(console)[0]
        except ConfigError:
            return None

    def accounts(self, console: Console) -> int:
        """How many accounts the keys belong to; 1 where there is none yet."""
        try:
            return len({key.account for key in self.keys(console)})
        except ConfigError:
            return 1


def read_source(
    source: Path | None,
    *,
    budget: str = "",
    base_url: str = "",
    plan: Path | None = None,
    kind: str = "",
    log_file: str = "",
    log_format: str = "",
    give_up: str = "",
) -> BatchSource:
    """Read a config, or the defaults around a manifest, under the flags that were given.

    *plan* is the saved plan that *base_url* comes from, where nobody typed it.
    """
    if source is not None and not str(source).strip(" ."):
        # An empty shell variable arrives as the current folder; nobody means that by nothing.
        raise ConfigError("the manifest is the current folder; name it, or give its path in full")
    flags: dict[str, Any] = {"format": kind} if kind else {}
    if budget:
        flags["budget"] = {"per_run": budget}
    provider = {"base_url": base_url, "give_up": give_up}
    if any(provider.values()):
        flags["provider"] = {name: value for name, value in provider.items() if value}
    log = {"file": log_file, "format": log_format}
    if any(log.values()):
        flags["log"] = {name: value for name, value in log.items() if value}
    is_config = source is not None and _is_config(source)
    environ = environment()
    settings = load_settings(source if is_config else None, flags, environ)
    if plan is not None and base_url:
        settings._base_url_from = Origin("plan", f"the plan {str(plan)!r}")
    manifest = None if is_config else source
    if manifest is None and settings.manifest is not None:
        manifest = Path(settings.manifest)
    return BatchSource(settings, manifest, environ)


def _is_config(source: Path) -> bool:
    if source.suffix.lower() not in _CONFIGS:
        return False
    from fluxbatch.manifest.readers.remote_file import is_elsewhere
    from fluxbatch.manifest.readers.yaml_toml import is_rows

    return not is_elsewhere(source) and not is_rows(source)
