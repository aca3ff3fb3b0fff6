"""Provider clients for tests: real sockets, a known key, seeded chance, short waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider
from fluxbatch.infra.runtime import Runtime, SystemClock, T, in_thread
from fluxbatch.provider import ProviderClient, RetryPolicy, open_transport

KEY_TEXT = "sk-very-secret-0123456789"
KEY = ApiKey(KEY_TEXT, label="alice")
QUICK = RetryPolicy(tries=3, first_s=0.001, most_s=0.002, told_s=0.05)


def runtime(seed: int = 7) -> Runtime:
    return Runtime(SystemClock(), Random(seed), in_thread)


class CountedBlocking:
    """The seam, run in place and counted."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, call: Callable[[], T], /) -> T:
        self.calls += 1
        return call()


@asynccontextmanager
async def client_of(
    base_url: str, *, patience: RetryPolicy = QUICK, **settings: Any
) -> AsyncIterator[ProviderClient]:
    """A client of the provider at *base_url*."""
    provider = Provider(base_url=base_url, **settings)
    async with open_transport(provider) as transport:
        yield ProviderClient(transport, provider, KEY, runtime(), patience)
