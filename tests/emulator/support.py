"""A clock moved by hand, requests as a client would make them, and short words for both."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import anyio
from aiohttp import web
from aiohttp.test_utils import TestClient

from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Reply
from fluxbatch.emulator.settings import EmulatorSettings, ServedLimits

HttpClient: TypeAlias = TestClient[web.Request, web.Application]

BEGAN = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
KEY = "key-1"
HEADERS = {"X-API-Key": KEY}
ORIGIN = "http://127.0.0.1:1"


@dataclass(slots=True)
class FakeClock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def make_core(
    clock: Callable[[], float],
    *,
    limits: ServedLimits | None = None,
    seed: int = 0,
    began: datetime = BEGAN,
    **settings: Any,
) -> ProviderCore:
    """Jobs of exactly 10 s and outputs of 64 by 64, unless told otherwise."""
    settings = {"sigma": 0.0, "image_size": (64, 64), **settings}
    return ProviderCore(
        EmulatorSettings(limits=limits or ServedLimits(), **settings),
        monotonic=clock,
        began=began,
        rng=random.Random(seed),
    )


def order(prompt: str = "a lighthouse", **values: Any) -> dict[str, Any]:
    """The body of a create."""
    control = {"control_image": "https://photos.invalid/1.jpg"}
    return {"model": "flux-depth-dev", "input": {"prompt": prompt, **control, **values}}


def created(reply: Reply) -> str:
    """The id of a create that must have been accepted."""
    assert reply.status == 200, reply
    return str(reply.body["predictionID"])


def buy(core: ProviderCore, prompt: str = "a lighthouse", **values: Any) -> str:
    return created(core.create(KEY, order(prompt, **values)))


def read(core: ProviderCore, prediction_id: str) -> dict[str, Any]:
    """What a poll says; it must be answered."""
    reply = core.get(KEY, prediction_id)
    assert reply.status == 200, reply
    body: dict[str, Any] = reply.body
    return body


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task does; nothing in the server announces it."""
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.005)
