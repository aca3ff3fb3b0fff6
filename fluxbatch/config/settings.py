"""Settings: every name, its unit, its bounds and where it may come from.

One dotted name each: `limits.creates` in the file, `FLUXBATCH_LIMITS__CREATES` in
the environment. Precedence: flag, environment, `.env`, file, default; an unknown
name is an error. Of keys it holds references alone: `config.api_keys` reads them. Components
get the small frozen section they need, never the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    SettingsConfigDict,
)

from fluxbatch.config.endpoints import Notify, Provider, Webhook, store_address
from fluxbatch.config.sweep import ManifestFormat, Sweep, Templates
from fluxbatch.config.trust import DEFAULT, Origin
from fluxbatch.config.types import Bytes, Cap, FilledText, Seconds, Section, Seed, WholeNumber
from fluxbatch.domain.filenames import DEFAULT_TEMPLATE, path_template
from fluxbatch.domain.money import Caps
from fluxbatch.infra.loopback import is_loopback

VARIABLE_PREFIX = "FLUXBATCH_"
DEBUG_VARIABLE = "FLUXBATCH_DEBUG"
"""As `--verbose` for every command; no setting."""


class Limits(Section):
    """One account's allowance, as the provider states it."""

    creates: WholeNumber = Field(default=100, ge=1)
    """Create calls in *any* window."""

    window: Seconds = Field(default=60.0, gt=0)
    """Seconds."""

    concurrent: WholeNumber = Field(default=10, ge=1)
    """Predictions created but not yet ended."""

    burst: WholeNumber | None = Field(default=None, ge=1)
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

    @property
    def caps(self) -> Caps:
        """By scope; None is no cap."""
        return {"run": self.per_run, "day": self.per_day, "dataset": self.per_dataset}


class Reconcile(Section):
    """How long a create without an answer is looked for. Source: docs/design/protocol.md 3."""

    lag: Seconds = Field(default=30.0, ge=0)
    """Seconds the provider may be late in accepting or listing a create."""

    patience: Seconds = Field(default=600.0, ge=0)
    """Seconds the end of a run waits for unknown creates."""

    sole_user: bool = False
    """Nobody else creates anything in the provider's organisation: where its answers do not give
    the input back, a lost create is found by its time. False: it stays unknown, for it may be a
    colleague's."""


class SinkSettings(Section):
    """Where and how outputs are stored."""

    store: FilledText | None = None
    """Where images alone are: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///FOLDER`; None: in
    the dataset."""

    max_bytes: Bytes = Field(default=200_000_000, ge=1)
    """Bytes one output may have."""

    max_pixels: WholeNumber = Field(default=100_000_000, ge=1)
    """Pixels one output may have."""

    min_free: Bytes = Field(default=2 * 1024**3, ge=0)
    """Bytes of free disk below which nothing more is submitted."""

    downloads: WholeNumber = Field(default=16, ge=1)
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
        return store_address(url) if url is not None else None

    @field_validator("path_template")
    @classmethod
    def _names_files(cls, text: str) -> str:
        path_template(text)
        return text

    @property
    def writes_metadata(self) -> bool:
        """Whether images say how they were made, in one place or the other."""
        return self.sidecar or self.embed


class Inputs(Section):
    """What is sent beside what the rows give."""

    seed: Literal["derived", "provider"] = "derived"
    """`derived`: from the job's id where the row gives none; `provider`: not sent."""


class Queue(Section):
    """The order in which jobs are submitted: higher `priority` first, then the manifest's order."""

    shuffle: Seed | None = Field(default=None, ge=-(2**63), lt=2**63)
    """A seed: jobs of one priority come in an order it decides, so that a part of a run is a
    sample of the whole. None: the manifest's order."""


class LedgerSettings(Section):
    """The ledger, where it is on a server."""

    patience: Seconds = Field(default=600.0, ge=0)
    """Seconds for which a server that fails is tried again."""


class StopSettings(Section):
    """The end of a run that goes wrong, or that has to be over."""

    identical_failures: WholeNumber = Field(default=20, ge=1)
    """Predictions in a row that failed alike."""

    grace: Seconds = Field(default=120.0, ge=0)
    """Seconds after `--deadline` or `--max-duration` for which what runs is waited for."""


class Log(Section):
    """What happened, line by line, for whoever looks later (`--log-file`, `--log-format`)."""

    file: FilledText | None = None
    """Lines are added to it; a relative path in a file is relative to that file."""

    format: Literal["text", "json"] = "text"


class MetricsSettings(Section):
    """What a run is observed by, for Prometheus."""

    textfile: FilledText | None = None
    """Written at the start, every 15 s and at the end. It ends in `.prom`, as node_exporter's
    textfile collector wants it: no config can have another file replaced. A relative path in a file
    is relative to that file."""

    @field_validator("textfile")
    @classmethod
    def _is_prom(cls, path: str | None) -> str | None:
        if path is not None and not path.endswith(".prom"):
            raise ValueError(f"{path!r} does not end in .prom, which its collector reads alone")
        return path


class Hooks(Section):
    """Code of other packages that is handed each new image; never in the way of a run."""

    names: list[str] | None = None
    """Those that are called; None: all that are installed."""

    timeout: Seconds = Field(default=60.0, gt=0)
    """Seconds one call may take, or a hook to load."""

    grace: Seconds = Field(default=60.0, ge=0)
    """Seconds for which the end of a run waits for them."""


class KeyEntry(Section):
    """A key by reference: its text never stands in a file that is shared."""

    label: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    key: str = Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")
    """`env:NAME` or `file:PATH`."""
    account: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    """Keys of one account share its limits; None: the key is its own account."""


class Settings(BaseSettings):
    """All settings of a run, one section per concern. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        dotenv_filtering="match_prefix",
    )

    model: FilledText = "flux-depth-dev"
    price: Cap = Field(default=None, gt=0)
    """US dollars of one execution; None: the card's, else the most one has cost in this dataset."""
    manifest: FilledText | None = None
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
    sink: SinkSettings = SinkSettings()
    inputs: Inputs = Inputs()
    queue: Queue = Queue()
    ledger: LedgerSettings = LedgerSettings()
    stop: StopSettings = StopSettings()
    notify: Notify = Notify()
    log: Log = Log()
    metrics: MetricsSettings = MetricsSettings()
    hooks: Hooks = Hooks()
    keys: list[KeyEntry] = Field(default_factory=list)

    _folder: Path | None = PrivateAttr(default=None)
    _base_url_from: Origin = PrivateAttr(default=DEFAULT)

    @property
    def folder(self) -> Path | None:
        """Where the config lies, absolute; its relative files begin there. None without one."""
        return self._folder

    @property
    def base_url_from(self) -> Origin:
        """Where `provider.base_url` came from."""
        return self._base_url_from

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
