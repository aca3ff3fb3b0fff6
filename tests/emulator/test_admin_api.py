"""`/_emulator/*`: the switches and the billing over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbatch.emulator.core import ProviderCore
from tests.emulator.support import HEADERS, KEY, FakeClock, HttpClient, buy, order


async def _post(served: HttpClient, name: str, body: object) -> tuple[int, Any]:
    async with served.post(f"/_emulator/{name}", json=body) as answer:
        return answer.status, await answer.json()


async def _get(served: HttpClient, name: str) -> Any:
    async with served.get(f"/_emulator/{name}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_stats_have_every_pinned_name(served: HttpClient) -> None:
    """
    The names that the acceptance tests read.
    """
    pinned = "created billed billed_micro_usd refused_rate refused_concurrent worst_window"
    pinned += " worst_concurrency unfinished double_billed"

    assert set(pinned.split()) <= set(await _get(served, "stats"))


async def test_faults_are_merged_shown_and_cleared(served: HttpClient) -> None:
    """
    A probability of 0 clears; knobs travel in the same map; all names are told.
    """
    await _post(served, "faults", {"get_500": 0.5, "late_seconds": 3})
    await _post(served, "faults", {"bill_errors": 1})
    shown = await _get(served, "faults")
    assert shown["faults"] == {"get_500": 0.5, "bill_errors": 1}
    assert shown["knobs"]["late_seconds"] == 3
    await _post(served, "faults", {"get_500": 0})

    assert (await _get(served, "faults"))["faults"] == {"bill_errors": 1}
    assert "create_reset_after" in shown["known"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faults", {"no_such_fault": 1}),
        ("faults", [1]),
        ("limits", {"speed": 1}),
        ("balance", {}),
        ("expect", {"repeats": "many"}),
    ],
)
async def test_what_is_not_understood_is_refused(
    served: HttpClient, name: str, body: object
) -> None:
    """
    400 with the reason, never a silent success.
    """
    status, answer = await _post(served, name, body)

    assert status == 400
    assert answer["error"]


async def test_keys_balance_limits_and_repeats_are_switched(
    served: HttpClient, core: ProviderCore
) -> None:
    """
    Each at once, without a restart.
    """
    await _post(served, "keys", {"revoke": [KEY]})
    assert core.create(KEY, order()).status == 401
    await _post(served, "keys", {"restore": [KEY]})
    await _post(served, "balance", {"usd": 0.01})
    assert core.create(KEY, order()).status == 402
    await _post(served, "balance", {"key": KEY, "usd": 1})
    await _post(served, "limits", {"rate": 1, "window": 5})
    buy(core)
    assert core.create(KEY, order()).status == 429
    await _post(served, "balance", {"usd": None})
    await _post(served, "expect", {"repeats": 2})

    assert core.executor.billing.expected_repeats == 2
    assert await _get(served, "limits") == {"rate": 1, "window": 5, "concurrent": 10}


async def test_every_prediction_can_be_compared(
    served: HttpClient, core: ProviderCore, clock: FakeClock
) -> None:
    """
    Its input, its end, its cost and whether it repeated another.
    """
    first, second = buy(core), buy(core)
    clock.pass_(10)
    rows = (await _get(served, "predictions"))["predictions"]

    assert [row["id"] for row in rows] == [first, second]
    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert [row["billed_micro_usd"] for row in rows] == [25_000, 25_000]
    assert [row["repeats_another"] for row in rows] == [False, True]
    assert (rows[0]["created_s"], rows[0]["ended_s"]) == (0.0, 10.0)


async def test_a_reset_gives_a_new_provider_at_the_same_address(
    served: HttpClient, core: ProviderCore
) -> None:
    """
    Old ids are unknown, the books are empty.
    """
    prediction = buy(core)
    status, answer = await _post(served, "reset", {})

    assert (status, answer["created"]) == (200, 0)
    async with served.get(f"/v1/prediction/{prediction}", headers=HEADERS) as poll:
        assert poll.status == 404
