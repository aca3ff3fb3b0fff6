"""From what was typed to settings and keys: flag over environment over `.env` over file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxbatch.cli.talk import Talk
from fluxbatch.config import Settings, environment, load_settings
from fluxbatch.errors import ConfigError
from fluxbatch.keys import ApiKey, find_keys

_CONFIGS = (".yaml", ".yml", ".toml")


@dataclass(frozen=True, slots=True)
class Asked:
    """A command's source, read."""

    settings: Settings
    manifest: Path | None
    """None: the settings' own, or a sweep alone."""
    environ: Mapping[str, str]

    def keys(self, talk: Talk) -> list[ApiKey]:
        """Every key there is; from here on none of them is ever shown."""
        keys = find_keys(self.settings.keys, self.environ)
        talk.learn(keys)
        if "EACH_API_KEY" in self.environ and not any(
            name.startswith("EACHLABS_API_KEY") for name in self.environ
        ):
            talk.say("note: the key is taken from EACH_API_KEY; its name here is EACHLABS_API_KEY")
        return keys

    def any_key(self, talk: Talk) -> ApiKey | None:
        """One key, for what needs none as a rule."""
        try:
            return self.keys(talk)[0]
        except ConfigError:
            return None

    def accounts(self, talk: Talk) -> int:
        """How many accounts the keys belong to; 1 where there is none yet."""
        try:
            return len({key.account for key in self.keys(talk)})
        except ConfigError:
            return 1


def read_source(source: Path | None, *, budget: str = "", base_url: str = "") -> Asked:
    """Read a config, or the defaults around a manifest, under the flags that were given."""
    flags: dict[str, Any] = {}
    if budget:
        flags["budget"] = {"per_run": budget}
    if base_url:
        flags["provider"] = {"base_url": base_url}
    is_config = source is not None and source.suffix.lower() in _CONFIGS
    environ = environment()
    settings = load_settings(source if is_config else None, flags, environ)
    return Asked(settings, None if is_config else source, environ)
