"""The limits are strict, and the witness would notice if they were not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.limits import Allowance, Witness
from fluxbatch.emulator.settings import ServedLimits
from tests.emulator.support import KEY, FakeClock, buy, make_core, order

_RATE_ONLY = ServedLimits(creates=3, window_s=60.0, concurrent=0)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=120))
def test_no_window_ever_holds_more_creates_than_the_limit(gaps: list[float]) -> None:
    """
    Wherever a window is laid over the accepted creates, it holds at most ten.
    """
    allowance, limits = Allowance(), ServedLimits(creates=10, window_s=60.0, concurrent=0)
    now, accepted = 0.0, []
    for gap in gaps:
        now += gap
        if allowance.refusal(now, limits, 60.0) is None:
            allowance.accept(now)
            accepted.append(now)

    busiest = max(sum(first <= t < first + 60.0 for t in accepted) for first in accepted)

    assert busiest <= 10


@given(st.lists(st.floats(0, 20), min_size=1, max_size=120))
def test_a_create_is_refused_only_when_the_window_is_really_full(gaps: list[float]) -> None:
    """
    Strict does not mean stingy: with fewer than ten in the last minute, the next is accepted.
    """
    allowance, limits = Allowance(), ServedLimits(creates=10, window_s=60.0, concurrent=0)
    now, accepted = 0.0, list[float]()
    for gap in gaps:
        now += gap
        recent = sum(t > now - 60.0 for t in accepted)
        refused = allowance.refusal(now, limits, 60.0) is not None
        assert refused == (recent >= 10)
        if not refused:
            allowance.accept(now)
            accepted.append(now)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_the_witness_counts_the_worst_window_by_itself(gaps: list[float]) -> None:
    """
    Fed with creates that nobody limited, it reports what counting by hand gives.
    """
    witness, now, arrivals = Witness(), 0.0, []
    for gap in gaps:
        now += gap
        arrivals.append(now)
        witness.arrived(now, 60.0)

    busiest = max(sum(t - 60.0 < a <= t for a in arrivals) for t in arrivals)

    assert witness.worst_window == busiest


def test_a_refused_create_costs_nothing_and_is_not_counted(clock: FakeClock) -> None:
    """
    Hammering a full window does not keep it full.
    """
    core = make_core(clock, limits=_RATE_ONLY)
    for _ in range(3):
        buy(core)
    for _ in range(50):
        assert core.create(KEY, order()).status == 429
        clock.pass_(1.0)

    clock.pass_(10.0)
    buy(core)

    assert stats(core)["created"] == 4
    assert stats(core)["refused_rate"] == 50
    assert stats(core)["worst_window"] == 3


def test_where_attempts_count_a_refused_create_takes_a_place_in_the_window(
    clock: FakeClock,
) -> None:
    """
    Hammering a full window keeps it full.
    """
    limits = ServedLimits(creates=3, window_s=60.0, concurrent=0, counts="attempted")
    core = make_core(clock, limits=limits)
    for _ in range(3):
        buy(core)
    for _ in range(9):
        clock.pass_(10.0)
        assert core.create(KEY, order()).status == 429

    clock.pass_(60.0)
    buy(core)

    assert stats(core)["created"] == 4
    assert stats(core)["worst_attempts"] == 8
    assert stats(core)["later_attempts"] == 1


def test_a_provider_may_keep_to_itself_when_to_come_back(clock: FakeClock) -> None:
    limits = ServedLimits(creates=1, window_s=60.0, concurrent=0, tells_when=False)
    core = make_core(clock, limits=limits)
    buy(core)
    assert "Retry-After" not in core.create(KEY, order()).headers


def test_a_rate_refusal_says_which_limit_and_when_to_come_back(clock: FakeClock) -> None:
    """
    `Retry-After` is the second at which the oldest create leaves the window.
    """
    core = make_core(clock, limits=_RATE_ONLY)
    for _ in range(3):
        buy(core)
    clock.pass_(18.5)

    refusal = core.create(KEY, order())

    assert refusal.status == 429
    assert refusal.headers["Retry-After"] == "42"
    assert "rate" in refusal.body["details"]
    clock.pass_(42)
    buy(core)


def test_a_window_empties_exactly_sixty_seconds_later(clock: FakeClock) -> None:
    """
    A create at 0 and one at 60 are never in the same window; at 59.999 they are.
    """
    core = make_core(clock, limits=ServedLimits(creates=1, window_s=60.0, concurrent=0))
    buy(core)

    clock.pass_(59.999)
    assert core.create(KEY, order()).status == 429
    clock.pass_(0.001)
    buy(core)

    assert stats(core)["worst_window"] == 1


def test_the_eleventh_unfinished_prediction_is_refused(core: ProviderCore) -> None:
    """
    The refusal names the concurrency, and counts as such.
    """
    for number in range(10):
        buy(core, f"lighthouse {number}")

    refusal = core.create(KEY, order())

    assert refusal.status == 429
    assert "concurrency" in refusal.body["details"]
    assert int(refusal.headers["Retry-After"]) >= 1
    assert stats(core)["refused_concurrent"] == 1
    assert stats(core)["worst_concurrency"] == stats(core)["unfinished"] == 10


def test_a_finished_prediction_frees_its_place_at_once(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    At the very second of the end the next create is accepted, and ten stay the worst.
    """
    for number in range(10):
        buy(core, f"lighthouse {number}")
    clock.pass_(10.0)
    for number in range(10, 20):
        buy(core, f"lighthouse {number}")

    assert stats(core)["worst_concurrency"] == 10


def test_each_key_has_limits_of_its_own(core: ProviderCore) -> None:
    """
    Ten for one key and ten for another: the worst of either is ten.
    """
    for key in ("a", "b"):
        for number in range(10):
            assert core.create(key, order(f"{key}{number}")).status == 200

    assert core.create("a", order()).status == 429
    assert stats(core)["worst_concurrency"] == 10
    assert stats(core)["unfinished"] == 20


def test_keys_of_one_account_share_its_limits(clock: FakeClock) -> None:
    """
    `--keys a:team,b:team`: five and five fill the account.
    """
    core = make_core(clock, keys=(("a", "team"), ("b", "team")))
    for number in range(10):
        core.create("ab"[number % 2], order(f"{number}"))

    assert core.create("a", order()).status == 429
    assert stats(core)["accounts"]["team"]["worst_concurrency"] == 10


def test_limits_of_zero_are_off(clock: FakeClock) -> None:
    """
    `--rate 0 --concurrent 0` measures the engine alone.
    """
    core = make_core(clock, limits=ServedLimits(creates=0, concurrent=0))
    for number in range(500):
        buy(core, f"lighthouse {number}")

    assert stats(core)["worst_window"] == stats(core)["worst_concurrency"] == 500


def test_speed_shortens_the_window_and_the_jobs_alike(clock: FakeClock) -> None:
    """
    At speed 10 a minute lasts six seconds and a ten second job one.
    """
    core = make_core(clock, limits=ServedLimits(creates=1, concurrent=0), speed=10.0)
    first = buy(core)
    clock.pass_(1.0)
    assert core.get(KEY, first).body["status"] == "success"
    assert core.create(KEY, order()).headers["Retry-After"] == "5"
    clock.pass_(5.0)
    buy(core)


def test_slot_seconds_are_the_integral_of_unfinished_predictions(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    Two jobs of ten seconds, begun four seconds apart, use twenty slot seconds.
    """
    buy(core, "one")
    clock.pass_(4.0)
    buy(core, "two")
    assert stats(core)["slot_seconds"] == 4.0
    clock.pass_(100.0)

    assert stats(core)["slot_seconds"] == 20.0
