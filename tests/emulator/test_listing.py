"""`GET /executions`: the listing that reconciliation relies on."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.settings import ServedLimits
from tests.emulator.support import KEY, FakeClock, buy, make_core, order, read

OPEN = ServedLimits(creates=0, concurrent=0)


@pytest.fixture
def core(clock: FakeClock) -> ProviderCore:
    return make_core(clock, limits=OPEN)


def _page(core: ProviderCore, **query: str) -> dict[str, Any]:
    reply = core.executions(KEY, {name.strip("_"): value for name, value in query.items()})
    assert reply.status == 200, reply
    body: dict[str, Any] = reply.body
    return body


def _ids(core: ProviderCore, **query: str) -> list[str]:
    return [row["id"] for row in _page(core, **query)["executions"]]


def test_rows_come_newest_first_and_without_their_input(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    A row has cost, times and output, but the input only `GET /prediction/{id}` tells.
    """
    first = buy(core, "one")
    clock.pass_(10)
    second = buy(core, "two")

    rows = _page(core)["executions"]

    assert [row["id"] for row in rows] == [second, first]
    assert [row["status"] for row in rows] == ["created", "success"]
    assert [row["execution_cost"] for row in rows] == [None, 0.025]
    assert rows[1]["created_at"] == "2026-11-22T12:00:00.000Z"
    assert rows[1]["completed_at"] == "2026-11-22T12:00:10.000Z"
    assert all("input" not in row for row in rows)


def test_pages_are_complete_and_disjoint(core: ProviderCore) -> None:
    """
    Paging until a short page sees each row exactly once; the default page is 20.
    """
    bought = [buy(core, str(n)) for n in range(45)]
    seen = [i for offset in ("0", "20", "40") for i in _ids(core, offset=offset)]

    assert seen == bought[::-1]
    assert len(_ids(core, limit="100")) == 45


def test_the_total_may_be_a_lower_bound(core: ProviderCore) -> None:
    """
    Past the cap it stops counting and says so.
    """
    core.faults["total_cap"] = 30
    for n in range(30):
        buy(core, str(n))
    assert (_page(core)["total_count"], _page(core)["total_capped"]) == (30, False)
    buy(core, "one more")

    assert (_page(core)["total_count"], _page(core)["total_capped"]) == (30, True)


def test_rows_are_filtered_by_time_model_and_status(clock: FakeClock, core: ProviderCore) -> None:
    """
    `from` and `to` include their ends; statuses are a comma-separated list.
    """
    old = buy(core, "old")
    clock.pass_(10)
    other = core.create(KEY, {"model": "flux-dev-t2i", "input": {"prompt": "x"}})
    clock.pass_(5)
    new = buy(core, "new")

    assert _ids(core, to="2026-11-22T12:00:00Z") == [old]
    assert _ids(core, from_="2026-11-22T12:00:10+00:00", to="2026-11-22T12:00:14Z") == [
        other.body["predictionID"]
    ]
    assert _ids(core, model="flux-depth-dev") == [new, old]
    assert _ids(core, status="success") == [old]
    assert _ids(core, status="created,success") == [new, old]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"offset": "-1"},
        {"status": "done"},
        {"from": "yesterday"},
        {"to": "2026-11-22T12:00:00"},
    ],
)
def test_a_question_out_of_range_is_refused(core: ProviderCore, query: dict[str, str]) -> None:
    """
    400 in words, never a silently different page.
    """
    assert core.executions(KEY, query).status == 400


def test_a_late_listing_shows_a_row_only_after_its_lag(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    The prediction itself can be read at once.
    """
    core.faults.merge({"list_late": 1, "list_lag": 20})
    prediction = buy(core)
    assert read(core, prediction)["status"] == "processing"
    clock.pass_(19.9)
    assert _ids(core) == []
    clock.pass_(0.1)

    assert _ids(core) == [prediction]


def test_a_moving_listing_repeats_rows_and_a_skipping_one_misses_them(
    core: ProviderCore,
) -> None:
    """
    The first page never moves; `list_shift` says by how many rows the later ones do.
    """
    bought = [buy(core, str(n)) for n in range(30)][::-1]
    core.faults.merge({"list_moving": 1, "list_shift": 2})
    assert _ids(core) == bought[:20]
    assert _ids(core, offset="20") == bought[18:]

    core.faults.merge({"list_moving": 0, "list_skipping": 1})
    assert _ids(core, offset="20") == bought[22:]


def test_strangers_are_listed_and_readable_but_not_in_the_books(
    clock: FakeClock,
) -> None:
    """
    One of its own input, one of an equal input: neither counts, neither makes ours a double.
    """
    core = make_core(clock, dialect="docs")
    core.faults.merge({"list_strangers": 1, "list_strangers_equal": 1})
    mine = buy(core)
    clock.pass_(10)
    others = [i for i in _ids(core) if i != mine]

    inputs = [read(core, i)["input"] for i in others]

    assert sorted(i == order()["input"] for i in inputs) == [False, True]
    assert core.executor.billing.created == core.executor.billing.billed == 1
    assert core.executor.billing.double_billed == 0
    assert core.executor.witnessed(clock.now)["worst_concurrency"] == 1


def test_the_listing_can_be_down_or_forbidden(core: ProviderCore) -> None:
    """
    500, 403, and 401 without a key.
    """
    core.faults["list_500"] = 1
    assert core.executions(KEY, {}).status == 500
    core.faults.merge({"list_500": 0, "list_403": 1})
    assert core.executions(KEY, {}).status == 403
    assert core.executions(None, {}).status == 401
