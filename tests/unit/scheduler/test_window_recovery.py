"""The age of a recorded create, whatever the clocks did meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.scheduler.window import CreateWindow
from fluxbatch.scheduler.window_recovery import SeenCreate, age_s, close_for_a_window, counts_from_s

_NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _moment(utc_s: float, boot_s: float, boot: str = "a") -> Timestamp:
    return Timestamp(_NOON + timedelta(seconds=utc_s), boot, boot_s)


def test_within_one_boot_the_boot_clock_decides() -> None:
    """
    Somebody set the clock an hour back between the two moments; 30 s have passed all the same.
    """
    assert age_s(_moment(0, 100), _moment(-3600, 130)) == 30


def test_across_boots_utc_decides_and_the_future_counts_as_now() -> None:
    """
    A create dated after now is as young as one can be.
    """
    assert age_s(_moment(0, 9000), _moment(45, 60, "b")) == 45
    assert age_s(_moment(500, 9000), _moment(0, 60, "b")) == 0


def test_what_an_earlier_boot_did_is_only_as_old_as_this_boot_for_certain() -> None:
    """
    The power was cut, and the clock was set an hour ahead before or after that.
    """
    assert age_s(_moment(0, 9000), _moment(3645, 10, "b")) == 10


def test_an_answered_create_counts_from_its_answer() -> None:
    """
    Seconds ago on the boot clock become a monotonic moment of this process.
    """
    create = SeenCreate(_moment(0, 100), answered=_moment(2, 102))

    assert counts_from_s(create, _moment(22, 122), 1000.0, lag_s=30, longest_s=35) == 980.0


def test_a_create_given_up_counts_from_the_lag_after_that() -> None:
    """
    It may still have arrived `reconcile.lag` later.
    """
    create = SeenCreate(_moment(0, 100), None, given_up=_moment(30, 130))

    assert counts_from_s(create, _moment(40, 140), 1000.0, lag_s=30, longest_s=35) == 1020.0


def test_what_a_crash_hides_counts_from_the_lag_after_now() -> None:
    """
    The intent is 10 s old and nobody knows whether, or when, it left.
    """
    create = SeenCreate(_moment(0, 100), None)

    assert counts_from_s(create, _moment(10, 110), 1000.0, lag_s=30, longest_s=35) == 1030.0


def test_what_a_crash_hid_long_ago_does_not_count_for_ever() -> None:
    """
    No process holds on to a request longer than its timeout, so yesterday's is out of the window.
    """
    create = SeenCreate(_moment(0, 100), None)
    now = _moment(86_400, 86_500)

    assert counts_from_s(create, now, 1000.0, lag_s=30, longest_s=35) < 1000.0 - 60.0


def test_when_nothing_is_known_the_lane_waits_one_window() -> None:
    """
    The lane's file was removed while this machine runs.
    """
    window = CreateWindow(limit=3, window_s=60.0)
    close_for_a_window(window, monotonic=10.0)

    assert window.wait_s(now=10.0) == 60.0
