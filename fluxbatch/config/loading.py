"""The loading of settings: file, environment, `.env` and flags into one `Settings`.

Owns the precedence and the error messages. Knows no setting's meaning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

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

from fluxbatch.config.config_file import ConfigFile, read_config
from fluxbatch.config.plugins import PLUGINS_VARIABLE
from fluxbatch.config.setting_problems import no_such, problem_lines
from fluxbatch.config.settings import DEBUG_VARIABLE, VARIABLE_PREFIX, Settings
from fluxbatch.config.text_file import read_utf8
from fluxbatch.config.trust import Environment, origin_of, refuse_trust_in_files
from fluxbatch.errors import ConfigError

_NO_SETTINGS = {DEBUG_VARIABLE, PLUGINS_VARIABLE}


class _Environment(DotEnvSettingsSource):
    """`.env`, and over it the process's environment; unlike the stock source of the
    environment it hands on unknown names too, so that a misspelt one is an error."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = {
            name.lower(): value
            for name, value in environ.items()
            if name.upper().startswith(VARIABLE_PREFIX) and name.upper() not in _NO_SETTINGS
        }
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
    _refuse_empty(surroundings)
    _refuse_switch_in_file(surroundings)
    file = read_config(path) if path is not None else ConfigFile(dict(base or {}), {})
    from_file = file.settings
    other_case = _other_case(file)
    if path is not None:
        _anchor(from_file, path.parent)
    given = dict(flags or {})
    origin = origin_of(given, surroundings, from_file, path)
    refuse_trust_in_files(surroundings, from_file, path)
    url, provider = surroundings.get("EACHLABS_BASE_URL"), given.get("provider", {})
    if url and isinstance(provider, Mapping) and "base_url" not in provider:
        given["provider"] = {**provider, "base_url": url}

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
    except ValidationError as exc:
        source = f"config {str(path)!r}" if path is not None else "settings"
        where = partial(_line_of, file, (given, _Environment(Loaded, surroundings)()))
        lines = [*other_case, *problem_lines(exc, setting_names(), where)]
        raise ConfigError("\n".join([f"cannot use {source}:", *lines])) from None
    except (SettingsError, RecursionError) as exc:
        raise ConfigError(f"cannot use the environment: {_no_json(exc)}") from None
    if other_case:
        raise ConfigError("\n".join([f"cannot use config {str(path)!r}:", *other_case]))
    loaded._folder = path.parent.absolute() if path is not None else None
    loaded._base_url_from = origin
    return loaded


def _anchor(from_file: dict[str, Any], folder: Path) -> None:
    """A relative manifest, log or file of metrics of a file begins where the file lies."""
    manifest = from_file.get("manifest")
    if isinstance(manifest, str) and manifest != "-" and "://" not in manifest[:16]:
        from_file["manifest"] = str(folder.absolute() / manifest)
    log = from_file.get("log")
    if isinstance(log, dict) and isinstance(log.get("file"), str):
        from_file["log"] = {**log, "file": str(folder / log["file"])}
    metrics = from_file.get("metrics")
    if isinstance(metrics, dict) and isinstance(metrics.get("textfile"), str):
        from_file["metrics"] = {**metrics, "textfile": str(folder / metrics["textfile"])}


def environment(dotenv: Path | None = None) -> Environment:
    """The process's environment over `.env` of the working directory.

    Raises `ConfigError` for a `.env` that cannot be read as UTF-8.
    """
    path = dotenv or Path(".env")
    values: Mapping[str, str | None] = {}
    if path.is_file():
        values = dotenv_values(stream=StringIO(read_utf8(path, repr(str(path)))))
    return Environment(os.environ, {k: v for k, v in values.items() if v is not None})


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


def _refuse_empty(environ: Mapping[str, str]) -> None:
    """A variable without a value is a slip of a script, and never means "no limit"."""
    for name, value in environ.items():
        is_ours = name.upper().startswith(VARIABLE_PREFIX) or name == "EACHLABS_BASE_URL"
        if is_ours and not value.strip():
            raise ConfigError(f"{name} is empty; give it a value, or unset it")


def _refuse_switch_in_file(environ: Mapping[str, str]) -> None:
    """Plugins are looked for before any file is read."""
    if PLUGINS_VARIABLE in getattr(environ, "from_file", ()):
        raise ConfigError(
            f"{PLUGINS_VARIABLE} stands in .env, where nobody looks for it; set it in the"
            " environment"
        )


def _other_case(file: ConfigFile) -> list[str]:
    """Take out the names that are settings in another case, and say which."""
    names = Settings.model_fields.keys()
    known = {name.lower() for name in names}
    others = [name for name in file.settings if name not in names and name.lower() in known]
    for name in others:
        del file.settings[name]
    return [f"  {name}: {no_such(name, setting_names())}{file.at((name,))}" for name in others]


def _line_of(
    file: ConfigFile, over: Sequence[Mapping[str, Any]], place: tuple[str | int, ...]
) -> str:
    """Where *place* stands in the file; nothing where something *over* the file said it."""
    for source in over:
        inner: Any = source
        for part in place:
            if not isinstance(inner, Mapping) or part not in inner:
                break
            inner = inner[part]
        else:
            return ""
    return file.at(place)


def _no_json(exc: Exception) -> str:
    found = re.search(r'field "(\w+)"', str(exc))
    if found is None:
        return "a value is nested too deep"
    name = f"{VARIABLE_PREFIX}{found[1].upper()}"
    return f"{name} is no JSON; set one name of it, as {VARIABLE_PREFIX}LIMITS__CREATES"
