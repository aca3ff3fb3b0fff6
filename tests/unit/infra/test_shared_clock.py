"""A server's clock, carried on by this machine's boot clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.infra.shared_clock import SharedClock

_START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SERVER_S = _START.timestamp()


class _Machine:
    """A clock that is moved by hand; its wall clock is years off."""

    def __init__(self) -> None:
        self.boot_s = 5_000.0

    def monotonic(self) -> float:
        return self.boot_s

    def now(self) -> Timestamp:
        return Timestamp(datetime(1999, 1, 1, tzinfo=UTC), "this-machine", self.boot_s)


def _asked(clock: SharedClock, machine: _Machine, server_s: float, boot_id: str = "pg-a-1") -> None:
    before = clock.asked()
    machine.boot_s += 0.2
    clock.set(before, clock.asked(), server_s, _SERVER_S - 60.0, boot_id)


def test_moments_are_the_server_s() -> None:
    machine = _Machine()
    clock = SharedClock(machine)
    _asked(clock, machine, _SERVER_S)
    machine.boot_s += 10.0
    now = clock.now()
    assert now.boot_id == "pg-a-1"
    assert abs(now.utc - (_START + timedelta(seconds=10.1))) < timedelta(milliseconds=1)
    assert abs(now.boot_s - 70.1) < 1e-3


def test_two_machines_agree_though_their_clocks_do_not() -> None:
    one, other = _Machine(), _Machine()
    other.boot_s = 9e6
    clocks = SharedClock(one), SharedClock(other)
    for clock, machine in zip(clocks, (one, other), strict=True):
        _asked(clock, machine, _SERVER_S)
        machine.boot_s += 3.0
    first, second = (clock.now() for clock in clocks)
    assert abs(first.boot_s - second.boot_s) < 1e-3
    assert abs(first.utc - second.utc) < timedelta(milliseconds=1)


def test_a_step_of_the_server_s_clock_is_seen() -> None:
    machine = _Machine()
    clock = SharedClock(machine)
    assert not clock.has_stepped(0.0, 0.1, _SERVER_S)
    _asked(clock, machine, _SERVER_S)
    machine.boot_s += 100.0
    at = clock.asked()
    assert not clock.has_stepped(at, at, _SERVER_S + 100.15)
    assert clock.has_stepped(at, at, _SERVER_S + 100.5)
    assert clock.has_stepped(at, at, _SERVER_S + 99.5)
    assert not clock.has_stepped(at, at + 4.0, _SERVER_S + 104.0)
    assert clock.has_stepped(at, at + 4.0, _SERVER_S + 104.5)


def test_a_clock_that_is_slewed_has_stepped_in_the_end() -> None:
    """
    Each beat alone sees next to nothing.
    """
    machine = _Machine()
    clock = SharedClock(machine)
    server_s = _SERVER_S
    for _ in range(9):
        machine.boot_s += 3.0
        server_s += 3.0 + 0.02
        at = clock.asked()
        if clock.has_stepped(at, at + 0.001, server_s):
            return
        clock.set(at, at + 0.001, server_s, _SERVER_S - 60.0, "pg-a-1")
    raise AssertionError("0.16 s in 24 s went unseen")


def test_two_clocks_that_merely_run_apart_do_not_step() -> None:
    """
    Fifty millionths, for a day.
    """
    machine = _Machine()
    clock = SharedClock(machine)
    for beat in range(28_800):
        machine.boot_s += 3.0
        at, server_s = clock.asked(), _SERVER_S + beat * 3.0 * (1 + 5e-5)
        assert not clock.has_stepped(at, at + 0.001, server_s)
        clock.set(at, at + 0.001, server_s, _SERVER_S - 60.0, "pg-a-1")
