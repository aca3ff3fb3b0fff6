"""The emulator as a process of its own, for tests that want real sockets and a real death."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

QUICK = ("--speed", "50", "--image-size", "64", "--sigma", "0")
"""Executions of a fifth of a second, pictures of a thumbnail's size."""


@dataclass(frozen=True, slots=True)
class EmulatorProcess:
    """A running provider."""

    process: subprocess.Popen[str]
    origin: str
    dialect: str = "card"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def stats(self) -> dict[str, Any]:
        """Its books."""
        return self._call("stats")

    def predictions(self) -> list[dict[str, Any]]:
        """What was created, oldest first, each with its `input`."""
        found: list[dict[str, Any]] = self._call("predictions")["predictions"]
        return found

    def reset(self) -> None:
        """A provider that was never called, at the same address."""
        self._call("reset", {})

    def faults(self, **chances: object) -> None:
        """Switch faults on (0: off); an unknown name raises."""
        self._call("faults", chances)

    def revoke(self, *keys: str) -> None:
        self._call("keys", {"revoke": keys})

    def restore(self, *keys: str) -> None:
        self._call("keys", {"restore": keys})

    def balance(self, usd: float | None, key: str | None = None) -> None:
        self._call("balance", {"usd": usd} | ({} if key is None else {"key": key}))

    def _call(self, name: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_emulator/{name}", data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
        return told


@contextmanager
def emulator_process(*flags: str, dialect: str = "card") -> Iterator[EmulatorProcess]:
    """`python -m fluxbatch.emulator` on a free port; `QUICK` unless told otherwise."""
    command = [sys.executable, "-m", "fluxbatch.emulator", "--port", "0", *(flags or QUICK)]
    command += ["--dialect", dialect]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "listening on" in line, line
            yield EmulatorProcess(process, line.split()[-1].removesuffix("/v1"), dialect)
        finally:
            process.kill()
