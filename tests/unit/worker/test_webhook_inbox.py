"""Boxes for what webhooks say, the race with a create's answer, and when not to rely on them."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from fluxbatch.domain.job import PredictionId
from fluxbatch.errors import AmbiguousCreate
from fluxbatch.infra.runtime import Moment
from fluxbatch.provider import Attempt, HookAddress, HookNames, Prediction, Status
from fluxbatch.worker.webhook_inbox import Box, Hooks

AT = Moment(datetime(2026, 8, 1, tzinfo=UTC), "boot", 5.0)
ATTEMPT = Attempt.of(1, AT)
SAID = Prediction(PredictionId("p-1"), Status.SUCCEEDED, "succeeded", ("https://o.example/1",))


def _opened() -> Hooks:
    hooks = Hooks()
    hooks.open(HookNames(b"k" * 32, "https://hooks.example.org"))
    return hooks


async def test_closed_hooks_name_no_address_and_hear_nothing() -> None:
    """
    A run without `webhook.public_url`.
    """
    hooks = Hooks()
    with hooks.expecting(1, AT) as box:
        hooks.told(ATTEMPT, SAID)

        assert box.address is None
        assert hooks.box(1).take() == []


async def test_what_is_told_lies_in_its_own_box_once() -> None:
    """
    Repeats are nothing new, and nobody gets another's.
    """
    hooks = _opened()
    with hooks.expecting(1, AT) as box, hooks.expecting(2, AT) as other:
        hooks.told(ATTEMPT, SAID)
        hooks.told(ATTEMPT, SAID)
        hooks.told(Attempt(1, 99), SAID)

        assert box.address is not None
        assert hooks.box(1) is box
        await box.filled()
        assert box.take() == [SAID]
        assert box.take() == other.take() == []


async def test_a_flood_fills_no_memory() -> None:
    """
    Whoever knew the address could fill it; the first ones stay.
    """
    box = Box()
    for number in range(10_000):
        box.put(Prediction(PredictionId(f"p-{number}"), Status.FAILED, "failed"))
        box.put(None)
    assert 1 < len(box.take()) <= 16

    hooks = _opened()
    for _ in range(10_000):
        hooks.told(ATTEMPT, SAID)
        hooks.told(ATTEMPT, None)
    assert len(hooks.take_late()) <= 1_000


async def test_what_nobody_waits_for_any_more_is_late() -> None:
    """
    Told apart from what could not be read: that says nothing about anything.
    """
    hooks = _opened()
    with hooks.expecting(1, AT):
        assert hooks.is_expected(ATTEMPT)
    hooks.told(ATTEMPT, SAID)
    hooks.told(ATTEMPT, None)

    assert not hooks.is_expected(ATTEMPT)
    with anyio.fail_after(1):
        await hooks.late_words()
    assert hooks.take_late() == [(ATTEMPT, SAID)]


async def test_what_nobody_looked_at_in_time_is_late_too() -> None:
    """
    A create may be declared absent in the very moment in which its webhook proves it.
    """
    hooks = _opened()
    with hooks.expecting(1, AT):
        hooks.told(ATTEMPT, None)
        hooks.told(ATTEMPT, SAID)

    assert hooks.take_late() == [(ATTEMPT, SAID)]


def _address() -> HookAddress:
    return HookAddress("https://hooks.example.org/1", "secret")


async def test_a_webhook_before_the_answer_gives_the_id_and_stays_to_be_read() -> None:
    """
    The create is not waited for any longer; the end that was told is still in the box.
    """
    box = Box(_address())
    box.put(None)
    given_up = anyio.Event()

    async def never() -> str:
        box.put(SAID)
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()
        return ""

    with anyio.fail_after(1):
        assert await box.unless_named(never) == "p-1"
    assert given_up.is_set()
    assert box.take() == [None, SAID]


async def test_an_answer_that_is_there_counts_more_than_a_webhook() -> None:
    """
    It comes from whom we asked.
    """
    box = Box(_address())
    box.put(SAID)

    async def at_once() -> str:
        return "its own"

    assert await box.unless_named(at_once) == "its own"


async def test_a_create_that_fails_fails_as_itself() -> None:
    """
    Not as a group of errors; and what came instead of its id is no id.
    """
    box = Box(_address())
    box.put(None)

    async def fails() -> str:
        raise AmbiguousCreate("reset")

    with pytest.raises(AmbiguousCreate, match="reset"):
        await box.unless_named(fails)


async def test_webhooks_that_get_lost_are_not_waited_for_until_they_come_again() -> None:
    """
    Five of the latest twenty are too many. Whoever waits is woken to ask; a run of good ones
    makes up for it.
    """
    hooks = _opened()
    with hooks.expecting(1, AT) as box:
        for told in (False, True, False, False, True, False):
            hooks.ended(was_told=told)
        before = (hooks.are_silent, box.take())
        hooks.ended(was_told=False)
        then = (hooks.are_silent, box.take())
        for _ in range(20):
            hooks.ended(was_told=True)

        assert before == (False, [])
        assert then == (True, [None])
        assert not hooks.are_silent


async def test_doubt_is_as_good_as_losses_until_good_ones_come() -> None:
    """
    Where nobody answers at the public address, nothing is waited for.
    """
    hooks = _opened()
    hooks.doubt()
    assert hooks.are_silent

    assert not any(hooks.ended(was_told=True) for _ in range(20))
    assert [hooks.are_silent] == [False]


async def test_the_first_success_of_a_kind_is_read_for_its_cost() -> None:
    """
    And no other: webhooks tell no cost, and a price that is wrong is wrong for all alike.
    """
    hooks = Hooks()

    assert [hooks.wants_cost(kind) for kind in ("a", "b", "a", "b")] == [True, True, False, False]
