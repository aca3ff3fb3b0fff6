"""The loading of settings: file, environment, `.env` and flags into one `Settings`.

Owns the precedence and the error messages. Knows no setting's meaning.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from fluxbatch.config.settings import _PREFIX, Settings
from fluxbatch.config.trust import Environment, origin_of, refuse_trust_in_files
from fluxbatch.errors import ConfigError


class _Environment(DotEnvSettingsSource):
    """`.env`, and over it the process's environment; unlike the stock source of the
    environment it hands on unknown names too, so that a misspelt one is an error."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = {k.lower(): v for k, v in environ.items() if k.startswith(_PREFIX)}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def load_settings(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the file at *path* (yaml or toml) under *environ* under *flags* (nested like the file).

    Without a file *base* stands for it. *environ* is what `environment()` gives. Raises
    `ConfigError` naming every bad setting.
    """
    surroundings = environment() if environ is None else environ
    from_file = _read_file(path) if path is not None else dict(base or {})
    if path is not None:
        _anchor(from_file, path.parent)
    given = dict(flags or {})
    origin = origin_of(given, surroundings, from_file, path)
    refuse_trust_in_files(surroundings, from_file, path)
    if (url := surroundings.get("EACHLABS_BASE_URL")) and "base_url" not in given.get(
        "provider", {}
    ):
        given["provider"] = {**given.get("provider", {}), "base_url": url}

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                _Environment(settings_cls, surroundings),
                InitSettingsSource(settings_cls, from_file),
            )

    try:
        loaded = Loaded(**given)
        loaded._folder = path.parent.absolute() if path is not None else None
        loaded._base_url_from = origin
        return loaded
    except ValidationError as exc:
        source = f"config {str(path)!r}" if path is not None else "settings"
        raise ConfigError(f"cannot use {source}:\n{_lines_of(exc)}") from None
    except SettingsError as exc:  # a value of the environment that should be JSON and is not
        raise ConfigError(f"cannot use the environment: {exc}") from None


def _anchor(from_file: dict[str, Any], folder: Path) -> None:
    """A relative manifest or log of a file begins where the file lies."""
    manifest = from_file.get("manifest")
    if isinstance(manifest, str) and manifest != "-" and "://" not in manifest[:16]:
        from_file["manifest"] = str(folder.absolute() / manifest)
    log = from_file.get("log")
    if isinstance(log, dict) and isinstance(log.get("file"), str):
        from_file["log"] = {**log, "file": str(folder / log["file"])}


def environment(dotenv: Path | None = None) -> Environment:
    """The process's environment over `.env` of the working directory."""
    values = dotenv_values(dotenv or Path(".env"), encoding="utf-8")
    return Environment(os.environ, {k: v for k, v in values.items() if v is not None})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"cannot read config {str(path)!r}: {exc}") from exc
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"config {str(path)!r} must be a table of settings")
    return data


def _lines_of(exc: ValidationError) -> str:
    """One line a setting, its dotted name first; values stay hidden, they may be secrets."""
    lines = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in error["loc"]) or "(file)"
        if error["type"] == "extra_forbidden":
            lines.append(f"  {name}: no such setting{_nearest(name)}")
        else:
            lines.append(f"  {name}: {error['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, setting_names(), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def setting_names() -> list[str]:
    """Every setting's dotted name."""
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names += [f"{name}.{inner}" for inner in section.model_fields]
        else:
            names.append(name)
    return names
