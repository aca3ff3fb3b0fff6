"""Webhooks as values: when they are due, what they carry, how often they are tried."""

from __future__ import annotations

import pytest

from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import WebhookPost
from tests.emulator.support import KEY, FakeClock, created, make_core, order

URL = "http://127.0.0.1:2/hook/attempt-1"


def _buy(core: ProviderCore) -> str:
    return created(core.create(KEY, {**order(), "webhook_url": URL, "webhook_secret": "s3"}))


def _wait(clock: FakeClock, core: ProviderCore, seconds: float) -> list[WebhookPost]:
    clock.pass_(seconds)
    return core.deliveries()


def test_the_end_of_a_prediction_is_told_once_with_its_secret(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Succeeded, the output, the secret verbatim; nothing before and nothing after.
    """
    prediction = _buy(core)
    assert core.wakes_in() == pytest.approx(10.0)
    assert _wait(clock, core, 9.9) == []
    (delivery,) = _wait(clock, core, 0.1)

    assert delivery.url == URL
    assert delivery.body["exec_id"] == prediction
    assert delivery.body["status"] == "succeeded"
    assert str(delivery.body["output"]).startswith("/outputs/")
    assert delivery.headers == {"X-Webhook-Secret": "s3"}
    assert _wait(clock, core, 1_000) == []


def test_a_failure_is_told_in_each_dialect(clock: FakeClock) -> None:
    """
    The card has `error`, the docs `output[0].error` and a `flow_id`.
    """
    bodies = []
    for dialect in ("card", "docs"):
        core = make_core(clock, dialect=dialect)
        core.faults["prediction_error"] = 1
        _buy(core)
        bodies.append(_wait(clock, core, 10)[0].body)
    card, docs = bodies

    assert card["status"] == docs["status"] == "failed"
    assert card["error"].startswith("Prediction failed")
    assert docs["output"] == [{"error": "Prediction failed"}]
    assert "flow_id" in docs


def test_a_cancelled_prediction_is_not_told(clock: FakeClock, core: ProviderCore) -> None:
    """
    No webhook is ever sent for it.
    """
    core.cancel(KEY, _buy(core))

    assert _wait(clock, core, 100) == []


def test_a_refused_delivery_is_tried_three_times_ten_seconds_apart(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    And `GET /webhooks/{id}` tells the whole story.
    """
    prediction = _buy(core)
    (first,) = _wait(clock, core, 10)
    core.delivered(first, 500)
    assert _wait(clock, core, 9.9) == []
    (second,) = _wait(clock, core, 0.1)
    core.delivered(second, None, "timeout")
    (third,) = _wait(clock, core, 10)
    core.delivered(third, 503)
    assert _wait(clock, core, 1_000) == []

    record = core.webhooks(KEY, prediction).body

    assert record["url"] == URL
    assert [a["status_code"] for a in record["attempts"]] == [500, None, 503]
    assert [a["status"] for a in record["attempts"]] == ["FAILED"] * 3
    assert core.webhooks(KEY, "unknown").status == 404


def test_an_accepted_delivery_is_not_tried_again(clock: FakeClock, core: ProviderCore) -> None:
    """
    Any 2xx will do.
    """
    _buy(core)
    core.delivered(_wait(clock, core, 10)[0], 204)

    assert _wait(clock, core, 100) == []
    assert core.hooks.delivered == 1


def test_deliveries_get_lost_repeated_and_late(clock: FakeClock, core: ProviderCore) -> None:
    """
    Each fault by itself; polling sees the end all the same.
    """
    core.faults["webhook_lost"] = 1
    _buy(core)
    assert _wait(clock, core, 100) == []

    core.faults.merge({"webhook_lost": 0, "webhook_repeat": 1})
    _buy(core)
    assert len(_wait(clock, core, 10)) == 2

    core.faults.merge({"webhook_repeat": 0, "webhook_late": 1})
    _buy(core)
    assert _wait(clock, core, 10) == []
    assert len(_wait(clock, core, 10)) == 1


def test_an_early_webhook_overtakes_the_answer_to_its_create(core: ProviderCore) -> None:
    """
    The prediction is over at once; its create is answered half a second later.
    """
    core.faults["webhook_early"] = 1
    reply = core.create(KEY, {**order(), "webhook_url": URL})

    assert core.wakes_in() == 0.0
    assert len(core.deliveries()) == 1
    assert reply.fate.delay_s == 0.5


def test_nothing_wakes_a_provider_without_webhooks(core: ProviderCore) -> None:
    """
    Ends happen when somebody looks; only deliveries need a timer.
    """
    created(core.create(KEY, order()))

    assert core.wakes_in() is None
