"""The emulator as a fixture of pytest, for the tests of those who use fluxbatch.

Owns `fluxbatch_emulator`: a provider in a process of its own, one for the whole session, empty for
each test. pytest loads this module by itself wherever fluxbatch is installed, so it imports nothing
until the fixture is asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

_QUICK = ("--port", "0", "--speed", "50", "--sigma", "0", "--image-size", "64")
"""An execution takes a fifth of a second, a picture is a thumbnail."""


@dataclass(frozen=True, slots=True)
class ServedEmulator:
    """A provider on this machine; it takes any key."""

    base_url: str
    """For `--base-url`, `EACHLABS_BASE_URL` or `provider.base_url`."""

    def stats(self) -> dict[str, Any]:
        """Its books: what was created, billed and refused."""
        return self._call("stats")

    def predictions(self) -> list[dict[str, Any]]:
        """What was created, oldest first, each with its `input`."""
        found: list[dict[str, Any]] = self._call("predictions")["predictions"]
        return found

    def faults(self, **chances: float) -> None:
        """Switch faults on, each by its chance (0: off); an unknown name raises `HTTPError`."""
        self._call("faults", chances)

    def reset(self) -> None:
        """As if nobody had ever called."""
        self._call("reset", {})

    def _call(self, name: str, body: object = None) -> dict[str, Any]:
        origin = self.base_url.removesuffix("/v1")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{origin}/_emulator/{name}", data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
        return told


@pytest.fixture(scope="session")
def fluxbatch_emulator_process() -> Iterator[ServedEmulator]:
    """The process, for the whole session."""
    command = [sys.executable, "-m", "fluxbatch.emulator", *_QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "listening on" in line, f"the emulator did not start: {line!r}"
            yield ServedEmulator(line.split()[-1])
        finally:
            process.kill()


@pytest.fixture
def fluxbatch_emulator(fluxbatch_emulator_process: ServedEmulator) -> ServedEmulator:
    """The provider of one test: nothing was created yet, no fault is on."""
    fluxbatch_emulator_process.reset()
    return fluxbatch_emulator_process
