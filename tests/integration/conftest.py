"""The provider of the tests that run commands: one process a module, at each test as if new.

For runs in process, the time in which an intent leaves is scaled as the provider's is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.running import scale_sending


@pytest.fixture(autouse=True)
def scaled_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    scale_sending(monkeypatch)


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture
def emulator(provider: EmulatorProcess) -> EmulatorProcess:
    provider.reset()
    return provider
