"""The provider of the tests that run commands: one process a module, at each test as if new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.emulator import EmulatorProcess, emulator_process


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture
def emulator(provider: EmulatorProcess) -> EmulatorProcess:
    provider.reset()
    return provider
