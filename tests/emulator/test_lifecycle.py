"""The life of a prediction from its create to its end: states, money, keys, balance, refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.core import ProviderCore
from tests.emulator.support import BEGAN, KEY, FakeClock, buy, created, make_core, order, read


def test_a_prediction_runs_for_its_duration_and_then_has_its_images(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Processing until the tenth second, then success with one URL an output and its cost.
    """
    prediction = buy(core, num_outputs=3)
    clock.pass_(9.99)
    assert read(core, prediction)["status"] == "processing"
    assert read(core, prediction)["output"] is None
    clock.pass_(0.01)

    answer = read(core, prediction)

    assert answer["status"] == "success"
    assert len(answer["output"]) == 3
    assert answer["metrics"]["cost"] == 0.025
    assert answer["predictionID"] == prediction
    assert core.executor.history[0].input == order(num_outputs=3)["input"]


def test_durations_are_lognormal_around_the_median(clock: FakeClock) -> None:
    """
    Half of them end before the median, and they are all different.
    """
    core = make_core(clock, sigma=0.15)
    core.executor.limits = type(core.executor.limits)(creates=0, concurrent=0)
    for number in range(400):
        buy(core, str(number))
    spans = sorted(p.ends_at - p.created_at for p in core.executor.history)

    assert 9.6 < spans[200] < 10.4
    assert 7.4 < spans[20] < 8.4  # exp(-1.645 sigma) of the median
    assert len(set(spans)) == 400


def test_the_same_seed_gives_the_same_provider(clock: FakeClock) -> None:
    """
    Ids, durations and drawn seeds repeat, and switching a fault does not move them.
    """

    def history(fault: str) -> list[tuple[str, float, int]]:
        core = make_core(clock, sigma=0.15, seed=7)
        core.faults[fault] = 0.5
        for number in range(8):
            core.create(KEY, order(str(number)))
        return [(p.id, p.ends_at, p.seed) for p in core.executor.history]

    assert history("get_500") == history("download_404") == history("create_reset_after")


def test_only_a_success_is_billed_by_default(clock: FakeClock, core: ProviderCore) -> None:
    """
    An error and a cancelled prediction cost nothing; the success costs the price, once.
    """
    buy(core, "fine")
    core.faults["prediction_error"] = 1
    failed = buy(core, "broken")
    core.faults["prediction_error"] = 0
    cancelled = buy(core, "unwanted")
    assert stats(core)["in_flight_micro_usd"] == 75_000
    core.cancel(KEY, cancelled)
    clock.pass_(10)

    assert stats(core)["billed"] == 1
    assert stats(core)["billed_micro_usd"] == 25_000
    assert stats(core)["in_flight_micro_usd"] == 0
    assert read(core, failed)["metrics"]["cost"] == 0.0
    assert read(core, cancelled)["status"] == "cancelled"


@pytest.mark.parametrize("switch", ["bill_errors", "bill_cancelled"])
def test_errors_and_cancelled_are_billed_when_switched(
    clock: FakeClock, core: ProviderCore, switch: str
) -> None:
    """
    The switch is read at the end, and the poll and the listing both say the cost.
    """
    core.faults.merge({switch: 1, "prediction_error": 1 if switch == "bill_errors" else 0})
    prediction = buy(core)
    if switch == "bill_cancelled":
        core.cancel(KEY, prediction)
    clock.pass_(10)

    assert stats(core)["billed_micro_usd"] == 25_000
    assert read(core, prediction)["metrics"]["cost"] == 0.025
    assert core.executions(KEY, {}).body["executions"][0]["execution_cost"] == 0.025


def test_buying_a_living_input_again_is_double_billed_at_its_end(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    It is a repeat at its create and double billed once it is charged.
    """
    buy(core)
    buy(core)
    assert stats(core)["double_created"] == 1
    assert stats(core)["double_billed"] == 0
    clock.pass_(10)

    assert stats(core)["double_billed"] == 1


def test_buying_a_succeeded_input_again_is_double_billed(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    However long ago the first one succeeded, and in whatever order its fields came.
    """
    buy(core, seed=1, guidance=7)
    clock.pass_(100_000)
    buy(core, guidance=7, seed=1)
    clock.pass_(10)

    assert stats(core)["double_billed"] == 1


@pytest.mark.parametrize("fault", ["prediction_error", "prediction_no_output"])
def test_buying_again_after_an_end_without_output_is_not_double(
    clock: FakeClock, core: ProviderCore, fault: str
) -> None:
    """
    A retry of a failure, billed or not, is not paying twice.
    """
    core.faults.merge({fault: 1, "bill_errors": 1})
    buy(core)
    clock.pass_(10)
    core.faults[fault] = 0
    buy(core)
    clock.pass_(10)

    assert stats(core)["billed"] == 2
    assert stats(core)["double_billed"] == 0


def test_a_repeat_that_is_never_charged_is_not_double_billed(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Created twice, but the second was cancelled and cost nothing.
    """
    buy(core)
    core.cancel(KEY, buy(core))
    clock.pass_(10)

    assert stats(core)["double_created"] == 1
    assert stats(core)["double_billed"] == 0


def test_expected_repeats_are_not_double(clock: FakeClock, core: ProviderCore) -> None:
    """
    Three of a kind where three were asked for; the fourth is one too many.
    """
    core.executor.billing.expected_repeats = 3
    for _ in range(4):
        buy(core)
    clock.pass_(10)

    assert stats(core)["double_billed"] == 1


def test_a_low_balance_refuses_what_is_in_flight_cannot_cover(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Two fit into $0.05; settling them does not make room for a third.
    """
    core.executor.billing.set_balance(None, 50_000)
    buy(core, "one")
    buy(core, "two")
    assert core.create(KEY, order("three")).status == 402
    clock.pass_(10)
    assert core.create(KEY, order("three")).status == 402
    assert stats(core)["billed_micro_usd"] == 50_000

    core.executor.billing.set_balance(KEY, 25_000)
    buy(core, "three")


def test_an_unbilled_end_gives_the_balance_back(clock: FakeClock, core: ProviderCore) -> None:
    """
    What was in flight and cost nothing is free again.
    """
    core.executor.billing.set_balance(None, 25_000)
    core.cancel(KEY, buy(core, "one"))

    buy(core, "two")


def test_a_revoked_key_is_refused_but_its_predictions_go_on(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Another key of the organisation still reads them.
    """
    prediction = buy(core)
    core.gate.revoked.add(KEY)
    clock.pass_(10)

    assert core.create(KEY, order()).status == 401
    assert core.get(KEY, prediction).status == 401
    assert core.get("key-2", prediction).body["status"] == "success"


def test_only_listed_keys_are_valid_when_keys_are_given(clock: FakeClock) -> None:
    """
    Without `--keys` any key is good; with it, only those.
    """
    core = make_core(clock, keys=(("good", "good"),))

    assert core.create("bad", order()).status == 401
    assert core.create(None, order()).status == 401
    created(core.create("good", order()))


def test_an_isolated_id_is_unknown_to_another_account(core: ProviderCore) -> None:
    """
    With the knob `isolated`, a 404 from a stranger's key says nothing.
    """
    prediction = buy(core)
    core.faults["isolated"] = 1

    assert core.get("key-2", prediction).status == 404
    assert core.get(KEY, prediction).status == 200


def test_cancelling_frees_the_place_and_may_be_repeated(core: ProviderCore) -> None:
    """
    A second cancel, or one of a finished prediction, changes nothing.
    """
    prediction = buy(core)
    for _ in range(2):
        assert core.cancel(KEY, prediction).body == {"status": "cancelled"}

    assert stats(core)["unfinished"] == 0
    assert core.cancel(KEY, "unknown").status == 404


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"num_outputs": 5}, "num_outputs"),
        ({"num_outputs": True}, "num_outputs"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance": 100.5}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"seed": 1.5}, "seed"),
        ({"output_format": "gif"}, "webp, jpg, png"),
        ({"output_quality": 101}, "output_quality"),
        ({"disable_safety_checker": "no"}, "boolean"),
        ({"megapixels": 1}, "megapixels"),
        ({"control_image": "data:image/png;base64,AA"}, "https://"),
        ({"control_image": "photo.jpg"}, "https://"),
        ({"control_image": "http://photos.invalid/1.jpg"}, "https://"),
        ({"colour": "red"}, "colour"),
        ({"prompt": 7}, "prompt"),
    ],
)
def test_an_input_outside_the_card_is_refused_in_words(
    core: ProviderCore, values: dict[str, Any], word: str
) -> None:
    """
    400, with the field or its allowed values, nothing created.
    """
    reply = core.create(KEY, order(**values))

    assert reply.status == 400
    assert word in reply.body["details"]
    assert stats(core)["created"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 400),
        ([], 400),
        ({"input": {}}, 400),
        ({"model": "flux-depth-dev"}, 400),
        ({"model": "flux-depth-dev", "input": {"prompt": "x"}}, 400),
        ({"model": "no-such-model", "input": {"prompt": "x"}}, 404),
    ],
)
def test_a_body_that_is_no_order_is_refused(core: ProviderCore, body: Any, status: int) -> None:
    """
    Unknown models are 404, everything else 400.
    """
    assert core.create(KEY, body).status == status


def test_every_model_describes_what_it_checks(core: ProviderCore) -> None:
    """
    `GET /model` shows schema and price; an unknown slug is 404.
    """
    model = core.model(None, "flux-depth-dev").body

    assert model["request_schema"]["required"] == ["prompt", "control_image"]
    assert len(model["request_schema"]["properties"]) == 10
    assert model["cost"]["amount"] == 0.025
    assert core.model(None, "flux-dev-t2i").body["request_schema"]["required"] == ["prompt"]
    assert core.model(None, "nothing").status == 404


def test_beginning_anew_forgets_everything_but_the_address(core: ProviderCore) -> None:
    """
    Books, faults, revoked keys and knobs are as on the first day.
    """
    core.listen_at("http://127.0.0.1:9")
    buy(core)
    core.faults.merge({"get_500": 1, "late_seconds": 99})
    core.gate.revoked.add("x")

    core.begin_anew()

    assert stats(core)["created"] == 0
    assert core.faults.shown() == {}
    assert core.faults.knob("late_seconds") == 5.0
    assert core.gate.revoked == set()
    assert core.storage.origin == "http://127.0.0.1:9"


def test_an_id_never_comes_twice(clock: FakeClock) -> None:
    """
    Not after a reset, nor after a restart with the same seed: ledgers still hold the old ones.
    """
    core, restarted = make_core(clock), make_core(clock, began=BEGAN + timedelta(seconds=1))
    first = buy(core)
    core.begin_anew()

    assert len({first, buy(core), buy(restarted)}) == 3
    assert core.executor.history[0].seed == restarted.executor.history[0].seed
