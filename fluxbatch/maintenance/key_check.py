"""The check of API keys at the provider, without spending anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.endpoints import Provider
from fluxbatch.errors import ApiError, BalanceTooLow, KeyRefused
from fluxbatch.infra.runtime import real_runtime
from fluxbatch.provider import ProviderClient, RetryPolicy, open_transport


@dataclass(frozen=True, slots=True)
class CheckedKey:
    """A key and what the provider says to it."""

    key: ApiKey
    works: bool
    health: str


async def check_keys(settings: Provider, keys: Sequence[ApiKey]) -> list[CheckedKey]:
    """Ask with every key at once, in the order given."""
    found: dict[int, CheckedKey] = {}
    runtime = real_runtime()
    async with open_transport(settings) as transport, anyio.create_task_group() as asking:
        for number, key in enumerate(keys):
            client = ProviderClient(transport, settings, key, runtime, RetryPolicy(tries=2))
            asking.start_soon(partial(_check, client, key, found, number), name=f"key-{number}")
    return [found[number] for number in sorted(found)]


async def _check(
    client: ProviderClient, key: ApiKey, found: dict[int, CheckedKey], number: int
) -> None:
    try:
        await client.executions(limit=1)
    except KeyRefused as exc:
        found[number] = CheckedKey(key, False, f"refused: {exc}")
    except BalanceTooLow as exc:
        found[number] = CheckedKey(key, False, f"no balance: {exc}")
    except ApiError as exc:
        found[number] = CheckedKey(key, False, f"no answer: {exc}")
    else:
        found[number] = CheckedKey(key, True, "works")
