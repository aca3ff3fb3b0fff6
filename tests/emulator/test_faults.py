"""The effect of each fault on the billing and on the reply, without a socket."""

from __future__ import annotations

import pytest

from fluxbatch.emulator import router
from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.faults import FAULTS
from fluxbatch.emulator.messages import Call, Picture
from tests.emulator.support import KEY, ORIGIN, FakeClock, buy, make_core, order, read

# name: (status, how the reply ends, created)
CREATES = {
    "create_reset_before": (0, "reset", 0),
    "create_reset_after": (0, "reset", 1),
    "create_500_before": (500, "answer", 0),
    "create_500_after": (500, "answer", 1),
    "create_504_html_after": (504, "answer", 1),
    "create_408_after": (408, "answer", 1),
    "create_timeout_after": (0, "hold", 1),
    "create_late": (0, "reset", 0),
    "create_garbled": (200, "answer", 1),
    "create_no_id": (200, "answer", 1),
    "create_slow": (200, "answer", 1),
    "create_429_rate": (429, "answer", 0),
    "create_429_concurrent": (429, "answer", 0),
    "create_402": (402, "answer", 0),
    "create_401": (401, "answer", 0),
    "create_403": (403, "answer", 0),
    "create_400": (400, "answer", 0),
    "create_redirect": (308, "answer", 0),
}
READS = {
    "get_500": (500, "answer"),
    "get_503_html": (503, "answer"),
    "get_reset": (0, "reset"),
    "get_timeout": (0, "hold"),
    "get_slow": (200, "answer"),
    "get_429": (429, "answer"),
    "get_404": (404, "answer"),
    "get_garbled": (200, "answer"),
    "get_unknown_word": (200, "answer"),
}
ENDS = {
    "prediction_error": "error",
    "prediction_filtered": "error",
    "prediction_timeout": "error",
    "prediction_no_output": "success",
    "prediction_short_output": "success",
    "prediction_stuck": "processing",
}
DOWNLOADS = {
    "download_truncated": (200, "answer"),
    "download_truncated_short": (200, "answer"),
    "download_html_200": (200, "answer"),
    "download_zero": (200, "answer"),
    "download_wrong_type": (200, "answer"),
    "download_drip": (200, "drip"),
    "download_timeout": (0, "hold"),
    "download_reset": (0, "reset"),
    "download_redirect": (302, "answer"),
    "download_redirect_loop": (302, "answer"),
    "download_redirect_private": (302, "answer"),
    "download_403_expired": (403, "answer"),
    "download_404": (404, "answer"),
    "download_500": (500, "answer"),
}


@pytest.fixture
def core(clock: FakeClock) -> ProviderCore:
    core = make_core(clock)
    core.listen_at(ORIGIN)
    return core


def test_no_fault_of_a_family_is_missing_from_these_tables() -> None:
    """
    A fault that is added must say here what it does.
    """
    for family, table in (("create", [*CREATES]), ("get", [*READS]), ("download", [*DOWNLOADS])):
        assert {name for name in FAULTS if name.startswith(f"{family}_")} == set(table)
    ends = {name for name in FAULTS if name.startswith("prediction_")}
    assert ends == {*ENDS, "prediction_lost"}


@pytest.mark.parametrize("fault", CREATES)
def test_a_create_meets_its_fate(core: ProviderCore, fault: str) -> None:
    """
    The status, the ending, and whether anything was created.
    """
    status, ending, count = CREATES[fault]
    core.faults[fault] = 1

    reply = core.create(KEY, order())

    assert (reply.status, reply.fate.ending) == (status, ending)
    assert stats(core)["created"] == count
    assert ("predictionID" in str(reply.body)) == (fault == "create_slow")


def test_a_late_create_arrives_when_its_client_is_long_gone(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Five seconds later, at its own time, even if nobody looked in between.
    """
    core.faults["create_late"] = 1
    core.create(KEY, order())
    clock.pass_(4.9)
    assert stats(core)["created"] == 0
    clock.pass_(50)

    core.advance()
    (prediction,) = core.executor.history

    assert prediction.created_at == 5.0
    assert prediction.ended_at == 15.0
    assert stats(core)["billed"] == 1


def test_late_creates_are_refused_by_the_limits_of_their_own_time(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Ten are running when it arrives: it is refused like any other, and counted.
    """
    core.faults["create_late"] = {"times": 1}
    core.create(KEY, order("late"))
    for number in range(10):
        buy(core, str(number))
    clock.pass_(20)

    assert stats(core)["created"] == 10
    assert stats(core)["refused_concurrent"] == 1


def test_faults_after_a_create_leave_a_refusal_alone(core: ProviderCore) -> None:
    """
    `create_reset_after` means created: what is refused is answered.
    """
    core.faults["create_reset_after"] = 1

    assert core.create(KEY, order(num_outputs=9)).status == 400


@pytest.mark.parametrize("fault", READS)
def test_a_poll_meets_its_fate(clock: FakeClock, core: ProviderCore, fault: str) -> None:
    """
    And the prediction does not care.
    """
    prediction = buy(core)
    clock.pass_(10)
    core.faults[fault] = {"times": 1}

    reply = core.get(KEY, prediction)

    assert (reply.status, reply.fate.ending) == READS[fault]
    if fault == "get_unknown_word":
        assert reply.body["status"] == "warming"
    assert core.get(KEY, prediction).body["status"] == "success"


@pytest.mark.parametrize("fault", ENDS)
def test_a_prediction_ends_as_it_was_fated(
    clock: FakeClock, core: ProviderCore, fault: str
) -> None:
    """
    Drawn at its create, seen at its end.
    """
    core.faults[fault] = {"times": 1}
    prediction = buy(core, num_outputs=3)
    clock.pass_(1_000)

    answer = read(core, prediction)

    assert answer["status"] == ENDS[fault]
    if fault == "prediction_short_output":
        assert len(answer["output"]) == 2
    if fault == "prediction_no_output":
        assert not answer["output"]
        assert stats(core)["billed"] == 1


def test_a_stuck_prediction_holds_its_place_until_it_is_cancelled(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Unless the cancel is ignored.
    """
    core.faults.merge({"prediction_stuck": 1, "cancel_ignored": 1})
    prediction = buy(core)
    clock.pass_(10_000)
    core.cancel(KEY, prediction)
    assert stats(core)["unfinished"] == 1
    core.faults["cancel_ignored"] = 0
    core.cancel(KEY, prediction)

    assert stats(core)["unfinished"] == 0


def test_a_lost_prediction_vanishes_halfway_and_is_billed(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    404 and gone from the listing, while the provider works on and charges.
    """
    core.faults["prediction_lost"] = 1
    prediction = buy(core)
    clock.pass_(4.9)
    assert core.get(KEY, prediction).status == 200
    clock.pass_(0.1)
    assert core.get(KEY, prediction).status == 404
    assert core.executions(KEY, {}).body["executions"] == []
    clock.pass_(5)

    assert stats(core)["billed"] == 1


def test_costs_can_be_hidden_and_higher(clock: FakeClock, core: ProviderCore) -> None:
    """
    The listing tells the truth all the same.
    """
    core.faults.merge({"no_cost": 1, "cost_higher": 1, "cost_factor": 3})
    prediction = buy(core)
    clock.pass_(10)

    assert "cost" not in read(core, prediction)["metrics"]
    assert core.executions(KEY, {}).body["executions"][0]["execution_cost"] == 0.075
    assert stats(core)["billed_micro_usd"] == 75_000


@pytest.mark.parametrize("fault", DOWNLOADS)
def test_a_download_meets_its_fate(clock: FakeClock, core: ProviderCore, fault: str) -> None:
    """
    Once; the next try gets the image.
    """
    prediction = core.executor.find(buy(core), 0)
    assert prediction is not None
    clock.pass_(10)
    core.advance()
    path, _, query = core.storage.urls(prediction)[0].removeprefix(ORIGIN).partition("?")
    call = Call("GET", path, dict(part.split("=") for part in query.split("&")))
    core.faults[fault] = {"times": 1}

    reply = router.handle_call(core, call)

    assert (reply.status, reply.fate.ending) == DOWNLOADS[fault]
    again = router.handle_call(core, call)
    assert (again.status, again.fate.body_share) == (200, 1.0)
    assert isinstance(again.body, Picture)
    assert again.body.kept_share == 1.0
    assert again.body.format == "webp"


def test_of_several_faults_each_is_as_likely(clock: FakeClock) -> None:
    """
    Two that always strike share the requests; neither hides the other.
    """
    core = make_core(clock)
    core.faults.merge({"get_500": 1, "get_404": 1})
    statuses = [core.get(KEY, "x").status for _ in range(400)]

    assert 150 < statuses.count(500) < 250


def test_a_probability_is_kept(clock: FakeClock) -> None:
    """
    One request in five.
    """
    core = make_core(clock)
    core.faults["list_500"] = 0.2
    failures = sum(core.executions(KEY, {}).status == 500 for _ in range(2_000))

    assert 320 < failures < 480


def test_a_fault_can_be_limited_in_number_and_by_prompt(core: ProviderCore) -> None:
    """
    Twice only, and only for the job whose prompt says so.
    """
    core.faults["create_500_before"] = {"times": 2, "match": "poison"}
    prompts = ["fine", "poison", "poison", "poison", "fine"]

    assert [core.create(KEY, order(p)).status for p in prompts] == [200, 500, 500, 200, 200]


@pytest.mark.parametrize(
    "change",
    [
        {"create_reset_aftr": 1},
        {"get_500": -1},
        {"get_500": "often"},
        {"get_500": {"chance": 1, "when": "now"}},
        {"late_seconds": float("nan")},
    ],
)
def test_a_misspelt_fault_is_refused_and_nothing_is_switched(
    core: ProviderCore, change: dict[str, object]
) -> None:
    """
    Otherwise a test would pass for nothing.
    """
    with pytest.raises(ValueError, match=next(iter(change))):
        core.faults.merge({"get_404": 1, **change})

    assert core.faults.shown() == {}


def test_a_description_can_fail_and_can_be_for_keys_alone(core: ProviderCore) -> None:
    """
    500, though it is public; or 401 to whoever has no key.
    """
    core.faults["model_500"] = {"times": 1, "match": "depth"}
    assert core.model(None, "flux-dev-t2i").status == 200
    assert core.model(None, "flux-depth-dev").status == 500
    assert core.model(None, "flux-depth-dev").status == 200

    core.faults["private_models"] = 1
    assert core.model(None, "flux-depth-dev").status == 401
    assert core.model(KEY, "flux-depth-dev").status == 200


def test_presign_and_cancel_can_fail(core: ProviderCore) -> None:
    """
    500, and nothing was signed or cancelled.
    """
    prediction = buy(core)
    core.faults.merge({"presign_500": 1, "cancel_500": 1})

    assert core.presign(KEY, {"content_type": "image/png"}).status == 500
    assert core.cancel(KEY, prediction).status == 500
    assert stats(core)["unfinished"] == 1
