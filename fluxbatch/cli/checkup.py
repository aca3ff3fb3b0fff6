"""Asking the provider whether keys work, without spending anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from fluxbatch.addresses import Provider
from fluxbatch.errors import ApiError, BalanceTooLow, KeyRefused
from fluxbatch.keys import ApiKey
from fluxbatch.provider import Patience, ProviderClient, open_transport
from fluxbatch.seams import real_seams

_FINGERPRINT_CHARS = 6


@dataclass(frozen=True, slots=True)
class CheckedKey:
    """A key and what the provider says to it."""

    key: ApiKey
    works: bool
    health: str


async def check_keys(settings: Provider, keys: Sequence[ApiKey]) -> list[CheckedKey]:
    """Ask with every key at once, in the order given."""
    found: dict[int, CheckedKey] = {}
    seams = real_seams()
    async with open_transport(settings) as transport, anyio.create_task_group() as asking:
        for number, key in enumerate(keys):
            client = ProviderClient(transport, settings, key, seams, Patience(tries=2))
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


def health_lines(keys: Sequence[CheckedKey]) -> Iterator[str]:
    """A line a key, under a header."""
    names = [(key.key.label, _short(key), _account(key), key.health) for key in keys]
    rows = [("label", "fingerprint", "account", "health"), *names]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[3]]).rstrip()


def health_json(key: CheckedKey) -> dict[str, Any]:
    """One key as programs get it."""
    return {
        "label": key.key.label,
        "fingerprint": key.key.fingerprint,
        "account": key.key.account,
        "works": key.works,
        "health": key.health,
    }


def _short(key: CheckedKey) -> str:
    return key.key.fingerprint[:_FINGERPRINT_CHARS]


def _account(key: CheckedKey) -> str:
    return "its own" if key.key.account == key.key.fingerprint else key.key.account
