"""A served emulator: the same core as in the pure tests, behind a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fluxbatch.emulator.app import emulator_app
from fluxbatch.emulator.core import ProviderCore
from tests.emulator.support import FakeClock, HttpClient, make_core


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def core(clock: FakeClock) -> ProviderCore:
    return make_core(clock)


@pytest.fixture
async def served(core: ProviderCore) -> AsyncIterator[HttpClient]:
    """The core of this test on a socket; its time stands still unless the test moves it."""
    async with TestClient(TestServer(emulator_app(core))) as client:
        yield client
