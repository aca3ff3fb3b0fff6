"""A dataset and a provider of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.maintenance.support import Ward
from tests.support.running import Bench, provider, scale_sending


@pytest.fixture(autouse=True)
def scaled_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    scale_sending(monkeypatch)


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """Jobs of 0.1 s, images of 64 by 64; times scaled as in `tests.support.running`.

    Of a provider that gives inputs back, as the documentation's does.
    """
    async with provider(dialect="docs") as emulator:
        yield Ward(Bench(tmp_path), emulator)


@pytest.fixture
async def card_ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """Of a provider that answers as the card says: it gives no input back."""
    async with provider() as emulator:
        yield Ward(Bench(tmp_path), emulator)
