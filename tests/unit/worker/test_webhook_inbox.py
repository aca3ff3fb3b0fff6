"""Mailboxes of webhooks, the race with a create's answer, and when not to rely on them."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from fluxbatch.domain.job import PredictionId
from fluxbatch.errors import AmbiguousCreate
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import Prediction, Status, WebhookAddress, WebhookAttempt, WebhookUrls
from fluxbatch.worker.webhook_inbox import Mailbox, WebhookInbox

AT = Timestamp(datetime(2026, 8, 1, tzinfo=UTC), "boot", 5.0)
ATTEMPT = WebhookAttempt.of(1, AT)
SAID = Prediction(PredictionId("p-1"), Status.SUCCEEDED, "succeeded", ("https://o.example/1",))


def _opened() -> WebhookInbox:
    webhooks = WebhookInbox()
    webhooks.open(WebhookUrls(b"k" * 32, "https://hooks.example.org"))
    return webhooks


async def test_closed_hooks_name_no_address_and_hear_nothing() -> None:
    """
    A run without `webhook.public_url`.
    """
    webhooks = WebhookInbox()
    with webhooks.expecting(1, AT) as mailbox:
        webhooks.deliver(ATTEMPT, SAID)

        assert mailbox.address is None
        assert webhooks.mailbox(1).take() == []


async def test_what_is_told_lies_in_its_own_box_once() -> None:
    """
    Repeats are nothing new, and nobody gets another's.
    """
    webhooks = _opened()
    with webhooks.expecting(1, AT) as mailbox, webhooks.expecting(2, AT) as other:
        webhooks.deliver(ATTEMPT, SAID)
        webhooks.deliver(ATTEMPT, SAID)
        webhooks.deliver(WebhookAttempt(1, 99), SAID)

        assert mailbox.address is not None
        assert webhooks.mailbox(1) is mailbox
        await mailbox.filled()
        assert mailbox.take() == [SAID]
        assert mailbox.take() == other.take() == []


async def test_a_flood_fills_no_memory() -> None:
    """
    Whoever knew the address could fill it; the first ones stay.
    """
    mailbox = Mailbox()
    for number in range(10_000):
        mailbox.put(Prediction(PredictionId(f"p-{number}"), Status.FAILED, "failed"))
        mailbox.put(None)
    assert 1 < len(mailbox.take()) <= 16

    webhooks = _opened()
    for _ in range(10_000):
        webhooks.deliver(ATTEMPT, SAID)
        webhooks.deliver(ATTEMPT, None)
    assert len(webhooks.take_late()) <= 1_000


async def test_what_nobody_waits_for_any_more_is_late() -> None:
    """
    Told apart from what could not be read: that says nothing about anything.
    """
    webhooks = _opened()
    with webhooks.expecting(1, AT):
        assert webhooks.is_expected(ATTEMPT)
    webhooks.deliver(ATTEMPT, SAID)
    webhooks.deliver(ATTEMPT, None)

    assert not webhooks.is_expected(ATTEMPT)
    with anyio.fail_after(1):
        await webhooks.late_arrived()
    assert webhooks.take_late() == [(ATTEMPT, SAID)]


async def test_what_nobody_looked_at_in_time_is_late_too() -> None:
    """
    A create may be declared absent in the very moment in which its webhook proves it.
    """
    webhooks = _opened()
    with webhooks.expecting(1, AT):
        webhooks.deliver(ATTEMPT, None)
        webhooks.deliver(ATTEMPT, SAID)

    assert webhooks.take_late() == [(ATTEMPT, SAID)]


def _address() -> WebhookAddress:
    return WebhookAddress("https://hooks.example.org/1", "secret")


async def test_a_webhook_before_the_answer_gives_the_id_and_stays_to_be_read() -> None:
    """
    The create is not waited for any longer; the end that was told is still in the box.
    """
    mailbox = Mailbox(_address())
    mailbox.put(None)
    given_up = anyio.Event()

    async def never() -> str:
        mailbox.put(SAID)
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()
        return ""

    with anyio.fail_after(1):
        assert await mailbox.unless_named(never) == "p-1"
    assert given_up.is_set()
    assert mailbox.take() == [None, SAID]


async def test_an_answer_that_is_there_counts_more_than_a_webhook() -> None:
    """
    It comes from whom we asked.
    """
    mailbox = Mailbox(_address())
    mailbox.put(SAID)

    async def at_once() -> str:
        return "its own"

    assert await mailbox.unless_named(at_once) == "its own"


async def test_a_create_that_fails_fails_as_itself() -> None:
    """
    Not as a group of errors; and what came instead of its id is no id.
    """
    mailbox = Mailbox(_address())
    mailbox.put(None)

    async def fails() -> str:
        raise AmbiguousCreate("reset")

    with pytest.raises(AmbiguousCreate, match="reset"):
        await mailbox.unless_named(fails)


async def test_webhooks_that_get_lost_are_not_waited_for_until_they_come_again() -> None:
    """
    Five of the latest twenty are too many. Whoever waits is woken to ask; a run of good ones
    makes up for it.
    """
    webhooks = _opened()
    with webhooks.expecting(1, AT) as mailbox:
        for told in (False, True, False, False, True, False):
            webhooks.ended(was_notified=told)
        before = (webhooks.are_silent, mailbox.take())
        webhooks.ended(was_notified=False)
        then = (webhooks.are_silent, mailbox.take())
        for _ in range(20):
            webhooks.ended(was_notified=True)

        assert before == (False, [])
        assert then == (True, [None])
        assert not webhooks.are_silent


async def test_doubt_is_as_good_as_losses_until_good_ones_come() -> None:
    """
    Where nobody answers at the public address, nothing is waited for.
    """
    webhooks = _opened()
    webhooks.distrust()
    assert webhooks.are_silent

    assert not any(webhooks.ended(was_notified=True) for _ in range(20))
    assert [webhooks.are_silent] == [False]


async def test_the_first_success_of_a_kind_is_read_for_its_cost() -> None:
    """
    And no other: webhooks tell no cost, and a price that is wrong is wrong for all alike.
    """
    webhooks = WebhookInbox()

    assert [webhooks.wants_cost(kind) for kind in ("a", "b", "a", "b")] == [
        True,
        True,
        False,
        False,
    ]
