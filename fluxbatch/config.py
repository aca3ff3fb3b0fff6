"""Settings: every name, its unit, its bounds and where it may come from.

One dotted name each: `limits.creates` in the file, `FLUXBATCH_LIMITS__CREATES` in
the environment. Precedence: flag, environment, `.env`, file, default; an unknown
name is an error. Of keys it holds references alone: `fluxbatch.keys` reads them. Components
get the small frozen section they need, never the whole.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from fluxbatch.addresses import Notify, Provider, Webhook, is_loopback, store_address
from fluxbatch.errors import ConfigError
from fluxbatch.quantities import Bytes, Cap, Seconds
from fluxbatch.shaping import ManifestFormat, Section, Sweep, Templates
from fluxbatch.stems import DEFAULT_TEMPLATE, path_template

_PREFIX = "FLUXBATCH_"


class Limits(Section):
    """One account's allowance, as the provider states it."""

    creates: int = Field(default=100, ge=1)
    """Create calls in *any* window."""

    window: Seconds = Field(default=60.0, gt=0)
    """Seconds."""

    concurrent: int = Field(default=10, ge=1)
    """Predictions created but not yet ended."""

    burst: int | None = Field(default=None, ge=1)
    """Creates back to back; None: as many as the window allows."""

    @model_validator(mode="after")
    def _burst_fits(self) -> Self:
        if self.burst is not None and self.burst > self.creates:
            raise ValueError(f"burst ({self.burst}) is above creates ({self.creates})")
        return self


class Budget(Section):
    """Caps in US dollars on settled, estimated and reserved money together."""

    per_run: Cap = None
    per_day: Cap = None
    per_dataset: Cap = None

    timezone: str = "UTC"
    """Where a day of `per_day` begins and ends."""

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{name!r} is no time zone; write it like Europe/Berlin") from None
        return name


class Reconcile(Section):
    """How long a create without an answer is looked for. Source: protocol.md 3."""

    lag: Seconds = Field(default=30.0, ge=0)
    """Seconds the provider may be late in accepting or listing a create."""

    patience: Seconds = Field(default=600.0, ge=0)
    """Seconds the end of a run waits for unknown creates."""


class Sink(Section):
    """Where and how outputs are stored."""

    store: str | None = None
    """Where images alone are: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`; None: in the dataset."""

    max_bytes: Bytes = Field(default=200_000_000, ge=1)
    """Bytes one output may have."""

    max_pixels: int = Field(default=100_000_000, ge=1)
    """Pixels one output may have."""

    min_free: Bytes = Field(default=2 * 1024**3, ge=0)
    """Bytes of free disk below which nothing more is bought."""

    downloads: int = Field(default=16, ge=1)
    """Downloads at the same time."""

    timeout: Seconds = Field(default=120.0, gt=0)
    """Seconds one download may take, or one try of an upload to `store`."""

    path_template: str = DEFAULT_TEMPLATE
    """Of an image's name below `images/`: `{prompt}`, `{seed}`, `{id}`, `{axis.NAME}`, … and `/`.
    A name always ends in its job and number, so none is ever another's."""

    sidecar: bool = True
    """A `.json` beside each image with how it was made."""

    embed: bool = False
    """The same within the image itself, not a pixel changed; a sidecar where that cannot be."""

    @field_validator("store")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        return store_address(url) if url else None

    @field_validator("path_template")
    @classmethod
    def _names_files(cls, text: str) -> str:
        path_template(text)
        return text

    @property
    def tells(self) -> bool:
        """Whether images say how they were made, in one place or the other."""
        return self.sidecar or self.embed


class Inputs(Section):
    """What is sent beside what the rows give."""

    seed: Literal["derived", "provider"] = "derived"
    """`derived`: from the job's id where the row gives none; `provider`: not sent."""


class Queue(Section):
    """In which order jobs are bought: higher `priority` first, then the manifest's order."""

    shuffle: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    """A seed: jobs of one priority come in an order it decides, so that a part of a run is a
    sample of the whole. None: the manifest's order."""


class Stop(Section):
    """When a run that is going wrong buys no more."""

    identical_failures: int = Field(default=20, ge=1)
    """Predictions in a row that failed alike."""


class Log(Section):
    """What happened, line by line, for whoever looks later (`--log-file`, `--log-format`)."""

    file: str | None = None
    """Lines are added to it; a relative path in a file is relative to that file."""

    format: Literal["text", "json"] = "text"


class KeyEntry(Section):
    """A key by reference: its text never stands in a file that is shared."""

    label: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    key: str = Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")
    """`env:NAME` or `file:PATH`."""
    account: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    """Keys of one account share its limits; None: the key is its own account."""


class Settings(BaseSettings):
    """Everything a run can be told, one section per concern. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        dotenv_filtering="match_prefix",
    )

    model: str = "flux-depth-dev"
    price: Cap = Field(default=None, gt=0)
    """US dollars of one execution; None: the card's, else the most one has cost in this dataset."""
    manifest: str | None = None
    """A file, a folder of images or a glob; a relative one in a file is relative to that file."""
    format: ManifestFormat | None = None
    """Of the manifest, where its name does not say."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The manifest's own names: `prompt: caption` takes the prompt from the column `caption`.
    `"*": ignore` or `"*": meta` says what becomes of columns that mean nothing."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Inputs given to every job that does not give its own."""
    sweep: Sweep | None = None
    templates: Templates | None = None
    """None: texts are templates only where an axis of the sweep is a variable."""
    limits: Limits = Limits()
    budget: Budget = Budget()
    provider: Provider = Provider()
    webhook: Webhook = Webhook()
    reconcile: Reconcile = Reconcile()
    sink: Sink = Sink()
    inputs: Inputs = Inputs()
    queue: Queue = Queue()
    stop: Stop = Stop()
    notify: Notify = Notify()
    log: Log = Log()
    keys: list[KeyEntry] = Field(default_factory=list)

    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """Where the config lies, absolute; its relative files begin there. None without one."""
        return self._folder

    @model_validator(mode="after")
    def _webhooks_reach_us(self) -> Self:
        url = self.webhook.public_url
        if url is not None and is_loopback(url) and not is_loopback(self.provider.base_url):
            raise ValueError(
                f"webhook.public_url {url!r} is this machine alone; the provider cannot call it"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """Where a budget's day begins and ends."""
        return ZoneInfo(self.budget.timezone)


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
    beneath: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the file at *path* (yaml or toml) under *environ* under *flags* (nested like the file).

    Without a file *beneath* stands for it. *environ* is what `environment()` gives. Raises
    `ConfigError` naming every bad setting.
    """
    surroundings = environment() if environ is None else environ
    from_file = _read_file(path) if path is not None else dict(beneath or {})
    if path is not None:
        _anchor(from_file, path.parent)
    given = dict(flags or {})
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


def environment(dotenv: Path | None = None) -> dict[str, str]:
    """The process's environment over `.env` of the working directory."""
    values = dotenv_values(dotenv or Path(".env"), encoding="utf-8")
    return {**{k: v for k, v in values.items() if v is not None}, **os.environ}


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
