"""Creates one after the other, where a lost one can be told by its time alone."""

from __future__ import annotations

import pytest

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Limits
from fluxbatch.infra.runtime import Clock, SystemClock
from fluxbatch.scheduler.lane import Lane, Permit
from fluxbatch.scheduler.serial import LanePace, SerialCreates


class _Clock(SystemClock):
    """Moved by hand."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def _lane(serial: SerialCreates) -> Lane:
    lane = Lane("team", [ApiKey("key", label="key", account="team")], Limits())
    lane.serial = serial
    return lane


def _turn(lane: Lane, clock: Clock) -> Permit:
    lane.window.leave()
    return Permit(lane, clock, 30.0, lambda: None)


def test_the_next_create_waits_for_the_answer_of_the_last() -> None:
    """
    Before it has left there is no telling for how long; answered, it waits no more.
    """
    clock, lane = _Clock(), _lane(SerialCreates("always", 30.0))
    permit = _turn(lane, clock)
    assert lane.wait_s(clock.now_s) is None

    permit.leaves()
    assert lane.wait_s(clock.now_s) == 2.0
    permit.answered()

    assert lane.wait_s(clock.now_s) == 0.0


def test_a_create_without_an_answer_holds_the_next_one_up_no_longer_than_its_bound() -> None:
    """
    2 s, or five times the usual answer where that is more.
    """
    clock, serial = _Clock(), SerialCreates("always", 30.0)
    lane = _lane(serial)
    _turn(lane, clock).leaves()

    assert lane.wait_s(clock.now_s + 2.0) == 0.0
    serial.saw_answer(1.0)
    assert lane.wait_s(clock.now_s + 2.0) == 3.0
    serial.saw_answer(60.0)
    assert serial.bound_s == 30.0  # never longer than an answer is waited for


@pytest.mark.parametrize(
    ("mode", "tells", "is_on"),
    [
        ("auto", None, True),
        ("auto", False, True),
        ("auto", True, False),
        ("always", True, True),
        ("never", False, False),
    ],
)
def test_they_leave_one_by_one_where_no_poll_gives_the_input(
    mode: str, tells: bool | None, is_on: bool
) -> None:
    """
    Until a poll proves otherwise; or as the user says.
    """
    serial = SerialCreates(mode, 30.0)  # type: ignore[arg-type]  # a parameter is any text
    if tells is not None:
        serial.saw_poll(tells_input=tells)

    assert serial.is_on is is_on


def _paced(*, creates_per_s: float, slots: int, answer_s: float, held_s: float) -> LanePace:
    pace = LanePace(creates_per_s, slots)
    for _ in range(20):
        pace.saw_answer(answer_s)
        pace.saw_slot_free(held_s)
    return pace


@pytest.mark.parametrize(
    ("creates_per_s", "slots", "answer_s", "held_s", "keeps_up"),
    [
        (100 / 60, 10, 0.1, 10.0, True),  # the card's limits
        (1e4, 10, 0.1, 10.0, True),  # no limit of creates, and slots that are free once a second
        (100 / 60, 500, 0.1, 1.0, True),  # many slots, and a window that is full before they are
        (1e4, 500, 0.1, 10.0, True),  # half as fast as the slots allow
        (1e4, 500, 0.1, 1.0, False),
    ],
)
def test_one_at_a_time_is_kept_unless_it_uses_next_to_nothing_of_what_the_limits_allow(
    creates_per_s: float, slots: int, answer_s: float, held_s: float, *, keeps_up: bool
) -> None:
    pace = _paced(creates_per_s=creates_per_s, slots=slots, answer_s=answer_s, held_s=held_s)
    assert pace.one_keeps_up is keeps_up
    assert SerialCreates("auto", 30.0).holds_up(pace) is keeps_up
    assert SerialCreates("always", 30.0).holds_up(pace)
    assert not SerialCreates("never", 30.0).holds_up(pace)


def test_the_first_creates_leave_one_at_a_time() -> None:
    assert LanePace(1e4, 500).one_keeps_up
