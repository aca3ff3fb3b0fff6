"""Settings that are addresses: the provider, webhooks, notifications, the image store.

Owns which of them may be used: nothing that carries a key or a secret leaves unencrypted,
unless it stays on this machine.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from fluxbatch.config.types import Seconds, Section
from fluxbatch.infra.loopback import is_loopback

DEFAULT_BASE_URL = "https://api.eachlabs.ai/v1"

_FOLDER = re.compile(r"(?i:file):///([^%\\\0]+)")
_STORE = re.compile(
    r"(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._=+-]+)*)", re.IGNORECASE
)


class Provider(Section):
    """How the provider is reached."""

    base_url: str = DEFAULT_BASE_URL
    """Version prefix included. Plain http only where this is a loopback address."""

    trust_base_url: bool = False
    """Send the key to an address that only a file (`.env`, a config) names. From the environment
    or a flag alone: FLUXBATCH_PROVIDER__TRUST_BASE_URL=true."""

    dialect: Literal["card", "docs"] = "card"
    """The create path: `card` writes the trailing slash. Answers of both are always understood."""

    auth: Literal["x-api-key", "bearer"] = "x-api-key"

    timeout: Seconds = Field(default=30.0, gt=0)
    """Seconds a request may take, 10 s of them to connect."""

    serial_creates: Literal["auto", "always", "never"] = "auto"
    """Whether an account's creates leave one after the other's answer, so that a lost one is
    told by its time; `auto`: where polls give no input back."""

    deadline: Seconds = Field(default=900.0, gt=0)
    """Seconds a prediction may run before it is asked to stop."""

    give_up: Seconds | None = Field(default=None, gt=0)
    """Seconds in which no create is accepted before a run ends; None: it tries for ever."""

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return _address(url, "the key")


class Webhook(Section):
    """Webhooks: the provider reports ends. Without `public_url` it is only polled."""

    public_url: str | None = None
    """What the provider calls, as it sees it; port 0: the one that `listen` got."""

    listen: str = "127.0.0.1:8787"
    """HOST:PORT of the listener on this machine; behind a reverse proxy a loopback address."""

    @field_validator("public_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url)._replace(scheme="", netloc="", path="").geturl():
            raise ValueError("a public address ends with its path; webhooks get paths below it")
        return None if url is None else _address(url, "webhooks' secrets")

    @field_validator("listen")
    @classmethod
    def _has_host_and_port(cls, listen: str) -> str:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]]+):([0-9]{1,5})", listen)
        if match is None or int(match[2]) > 65_535:
            raise ValueError(f"{listen!r} is not HOST:PORT; write it like 127.0.0.1:8787")
        return listen


class Notify(Section):
    """The addresses notified of an unattended run. An address may be `env:NAME`: it is a secret."""

    url: str | None = None
    """Gets the run's end as a JSON POST; `text` is a sentence, as chat programs take it."""

    when: tuple[Literal["done", "stopped", "failed"], ...] = ("done", "stopped", "failed")
    """Which ends it gets: exit 0; 4 and interruptions; every other."""

    healthcheck: str | None = None
    """Pinged as `…/start`, then as it is, or as `…/fail` where the exit is not 0, 3 or 4."""

    @field_validator("url", "healthcheck")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text is not None and not re.match(r"(https?://[^\s/]|env:[A-Za-z_])", text):
            raise ValueError("write an http(s) address, or env:NAME for one in the environment")
        return text


def _address(url: str, at_stake: str) -> str:
    """*url* as a base for paths; raise `ValueError` where it would give away what it should not."""
    parts = urlsplit(url)
    if parts.username or parts.password:  # first, for it must not be quoted
        raise ValueError("an address may not carry a key or a password")
    _ = parts.port  # raises where it is no number
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not an http(s) address")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError(f"{url!r} would send {at_stake} unencrypted; use https")
    return url.rstrip("/")


def store_address(url: str) -> str:
    """*url* as a place of images, a bucket or an absolute folder; raise `ValueError` for anything
    else."""
    if "@" in url or "?" in url or "#" in url:  # first, for it must not be quoted
        raise ValueError(
            "a store's address has no key and no query; its keys are the environment's"
        )
    folder = _FOLDER.fullmatch(url.rstrip("/"))
    if folder is not None and not {".", "..", ""} & set(folder[1].split("/")):
        return f"file:///{folder[1]}"
    match = _STORE.fullmatch(url.rstrip("/"))
    if match is None or {".", ".."} & set(url.split("/")):
        raise ValueError(
            f"{url!r} is no store of images; write it like s3://BUCKET/PREFIX or file:///FOLDER"
        )
    return f"{match[1].lower()}://{match[2]}"
