"""The source of a batch: a config or a manifest, read with its settings and keys.

Owns which of the two a file is, and whose keys pay. What a command line's flags and a program's
keywords are called is for those who have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluxbatch.config.api_keys import ApiKey, Keyring, find_keys, keys_for
from fluxbatch.config.loading import environment, load_settings
from fluxbatch.errors import ConfigError

_CONFIGS = (".yaml", ".yml", ".toml")


class BatchSource:
    """Settings: *flags* (nested like a config) over environment over `.env` over file."""

    def __init__(
        self,
        path: Path | None,
        flags: Mapping[str, Any],
        keys: Sequence[str | ApiKey] | None = None,
    ) -> None:
        """*keys* stand for those of the environment and the config.

        Raises `ConfigError` naming every bad setting.
        """
        self.flags = flags
        config = path if path is not None and _is_config(path) else None
        self.environ = environment()
        self.settings = load_settings(config, flags, self.environ)
        named = Path(self.settings.manifest) if self.settings.manifest else None
        self.manifest = named if path is None or config is not None else path
        """None: a sweep alone."""
        self._given_keys = keys

    def manifest_in(self, place: Path) -> Path | None:
        """The manifest as a file; from stdin or a URL it is written into the folder *place*."""
        if self.manifest is None:
            return None
        from fluxbatch.manifest.readers.remote_file import localize

        return localize(self.manifest, place)

    def keys(self) -> Keyring:
        """Every key there is; raises `ConfigError` where there is none."""
        if self._given_keys is None:
            return Keyring(keys_for(self.settings, self.environ))
        texts = [key for key in self._given_keys if isinstance(key, str)]
        keys = [key for key in self._given_keys if isinstance(key, ApiKey)]
        if texts or not keys:
            keys += find_keys([], {"EACHLABS_API_KEYS": ",".join(texts)})
        return Keyring(dict.fromkeys(keys))

    def accounts(self) -> int:
        """How many accounts the keys belong to; 1 where there is none yet."""
        try:
            return len({key.account for key in self.keys()})
        except ConfigError:
            return 1

    def any_key(self) -> ApiKey | None:
        """One key, for what needs none as a rule."""
        try:
            return self.keys()[0]
        except ConfigError:
            return None


def _is_config(path: Path) -> bool:
    if path.suffix.lower() not in _CONFIGS:
        return False
    from fluxbatch.manifest.readers.remote_file import is_elsewhere
    from fluxbatch.manifest.readers.yaml_toml import is_rows

    return not is_elsewhere(path) and not is_rows(path)
