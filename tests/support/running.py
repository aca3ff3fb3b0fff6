"""A whole run, in process, against the emulator's core behind a real socket."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.app import emulator_app
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.settings import EmulatorSettings, ServedLimits
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.events import Event, Events
from fluxbatch.worker import context, submit
from fluxbatch.worker.unknown import spans

SPEED = 20.0
"""A minute of the provider lasts three seconds in these tests."""
KEY = "sk-a-key-that-must-never-be-seen"
PHOTO_URL = "https://photos.invalid/lighthouse.jpg"

_SCALED = {
    "limits": {"window": 60.0 / SPEED},
    "provider": {"timeout": 1.5, "deadline": 12.0},
    "reconcile": {"lag": 0.3, "patience": 12.0},
    "sink": {"min_free": 0, "timeout": 5.0},
}


def scale_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent leaves within a second, not five: a lost create is given up as much earlier.

    A fifth, where the provider's minute is a twentieth, so that it leaves on a busy machine too.
    """
    for module in (context, submit, spans):
        monkeypatch.setattr(module, "SEND_WITHIN_S", 1.0)


@dataclass
class Provider:
    """A served emulator and what it counted."""

    core: ProviderCore
    base_url: str

    @property
    def stats(self) -> dict[str, Any]:
        return stats(self.core)


@asynccontextmanager
async def provider(
    *, duration_s: float = 2.0, limits: ServedLimits | None = None, **settings: Any
) -> AsyncIterator[Provider]:
    """An emulator with small images and jobs of *duration_s* (before `SPEED`).

    With `dialect="docs"` its answers give inputs back; either auth header will do.
    """
    options = {"speed": SPEED, "sigma": 0.0, "image_size": (64, 64), **settings}
    core = ProviderCore(
        EmulatorSettings(duration_s=duration_s, limits=limits or ServedLimits(), **options),
        monotonic=time.monotonic,
        began=datetime.now(UTC),
        rng=random.Random(1),
    )
    core.faults["any_auth"] = int(core.settings.dialect == "docs")
    async with TestServer(emulator_app(core)) as server:
        yield Provider(core, str(server.make_url("/v1")))


@dataclass
class Bench:
    """One dataset and one manifest in a folder of their own."""

    folder: Path
    keys: Sequence[str] = (KEY,)
    settings: Mapping[str, object] = field(default_factory=dict)
    """Sections, merged into those of all tests, and single settings."""
    heard: list[Event] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "dataset"

    def write(self, rows: Iterable[Mapping[str, object]], name: str = "manifest.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    async def run(
        self, base_url: str, manifest: Path, *, budget: str | None = None, **options: Any
    ) -> RunSummary:
        """One invocation of `execute_run`."""
        flags: dict[str, Any] = {name: {**v} for name, v in _SCALED.items()}
        for name, setting in self.settings.items():
            if isinstance(setting, Mapping):
                flags.setdefault(name, {}).update(setting)
            else:
                flags[name] = setting
        flags["provider"]["base_url"] = base_url
        if budget is not None:
            flags["budget"] = {"per_run": budget}
        request = RunRequest(
            load_settings(None, flags, {}),
            [ApiKey(text, label=f"key-{n}") for n, text in enumerate(self.keys)],
            Folder(self.out),
            manifest,
            **options,
        )
        return await execute_run(request, Events(self.heard.append))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the ledger as a user with a SQLite tool would."""
        connection = sqlite3.connect(self.out / "ledger.sqlite")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def images(self) -> list[Path]:
        """Without their sidecars."""
        folder = self.out / "images"
        return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".json")


def make_rows(count: int, **values: object) -> list[dict[str, object]]:
    return [
        {"prompt": f"a lighthouse, {n}", "control_image": PHOTO_URL, **values} for n in range(count)
    ]
