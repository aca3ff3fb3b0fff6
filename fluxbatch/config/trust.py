"""Whom a key may be sent to: by where the provider's address came from.

Owns the rule that an address out of a file (`.env`, a config, a saved plan, a dataset) gets no key
by itself: such files are passed on, and whoever writes one could have the key sent to themselves.
Reads no setting and no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.errors import ConfigError
from fluxbatch.infra.loopback import is_loopback

TRUST = "FLUXBATCH_PROVIDER__TRUST_BASE_URL"
_ADDRESSES = ("EACHLABS_BASE_URL", "FLUXBATCH_PROVIDER__BASE_URL", "FLUXBATCH_PROVIDER")
_KEYS = ("EACHLABS_API_KEYS", "EACHLABS_API_KEY", "EACH_API_KEY")
_NAMED_HERE = ("default", "flag", "environment")


class Environment(dict[str, str]):
    """The process's environment over a `.env`."""

    def __init__(self, process: Mapping[str, str], dotenv: Mapping[str, str]) -> None:
        super().__init__({**dotenv, **process})
        self.from_file = frozenset(dotenv.keys() - process.keys())
        """The names that `.env` alone gives."""


class Origin(NamedTuple):
    """Where the provider's address came from."""

    kind: Literal["default", "flag", "environment", "dotenv", "config", "plan", "dataset"]
    words: str


DEFAULT = Origin("default", "the default")


def origin_of(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    from_file: Mapping[str, Any],
    config: Path | None,
) -> Origin:
    """Which of them gives `provider.base_url`, in the order of their precedence."""
    if _has(flags.get("provider"), "base_url"):
        return Origin("flag", "--base-url")
    for wanted in _ADDRESSES:
        for name, value in environ.items():
            if name.upper() == wanted and value and (wanted.endswith("URL") or "base_url" in value):
                if name in _from_dotenv(environ):
                    return Origin("dotenv", f"{name} in .env")
                return Origin("environment", f"{name} in the environment")
    if _has(from_file.get("provider"), "base_url"):
        if config is None:
            return Origin("dataset", "the dataset's latest run")
        return Origin("config", f"the config {str(config)!r}")
    return DEFAULT


def refuse_trust_in_files(
    environ: Mapping[str, str], from_file: Mapping[str, Any], config: Path | None
) -> None:
    """Raise `ConfigError` where a file asks to be trusted: that is for flag and environment."""
    place = None
    if _has(from_file.get("provider"), "trust_base_url"):
        place = repr(str(config)) if config is not None else "the dataset"
    if any(n.upper() == TRUST or _trusts(n, environ[n]) for n in _from_dotenv(environ)):
        place = "'.env'"
    if place is not None:
        raise ConfigError(
            f"provider.trust_base_url cannot stand in {place}: set {TRUST}=true in the environment"
        )


def refuse_untrusted(
    address: str, origin: Origin, environ: Mapping[str, str], *, by_reference: bool
) -> None:
    """Raise `ConfigError` where a key would go to an *address* that only a file names.

    A key whose text stands in the same `.env` may go there; *by_reference* says that the keys are
    named by a config.
    """
    if origin.kind in _NAMED_HERE or address == DEFAULT_BASE_URL or is_loopback(address):
        return
    if origin.kind == "dotenv" and not by_reference:
        given = {name for name in (*_KEYS, "EACHLABS_API_KEY_FILE") if environ.get(name)}
        if given and given <= _from_dotenv(environ) & set(_KEYS):
            return
    raise ConfigError(
        f"no key is sent to {address!r}: that address comes from {origin.words}. If it is right,"
        f" name it yourself (--base-url, or EACHLABS_BASE_URL in the environment), or set"
        f" {TRUST}=true"
    )


def _from_dotenv(environ: Mapping[str, str]) -> frozenset[str]:
    return environ.from_file if isinstance(environ, Environment) else frozenset()


def _trusts(name: str, value: str) -> bool:
    return name.upper() == "FLUXBATCH_PROVIDER" and "trust_base_url" in value


def _has(section: object, name: str) -> bool:
    return isinstance(section, Mapping) and section.get(name) is not None
