"""The live screen as text: it fits, it is honest, and it needs no colour."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fluxbatch.cli.progress.screen import ASCII_MARKS, Frame, screen
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from tests.unit.cli.statuses import make_cap, make_lane, make_status, make_totals

_STATES = {
    JobState.DONE: 128,
    JobState.FAILED: 4,
    JobState.ACTIVE: 12,
    JobState.GENERATED: 2,
    JobState.PENDING: 54,
}


def drawn(status: RunStatus, width: int = 80, height: int = 24, **frame: object) -> list[str]:
    """The screen's lines, as a terminal without colour shows them."""
    console = Console(file=io.StringIO(), width=width, height=height, no_color=True)
    made = Frame("fluxbatch  night.yaml → set", status, "about 3 min left", **frame)  # type: ignore[arg-type]
    with console.capture() as captured:
        console.print(screen(made, width, height))
    return captured.get().splitlines()


def busy_status(lanes: int = 1) -> RunStatus:
    return make_status(
        _STATES,
        unknown=2,
        run=make_totals(creates=146, spent=3_200_000, reserved=300_000, failed=100_000),
        budgets=(make_cap(5_000_000, 3_200_000),),
        lanes=tuple(make_lane(f"key-{n}", "out" if n == 3 else "working") for n in range(lanes)),
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 16), (40, 12)])
@pytest.mark.parametrize("lanes", [1, 3, 40])
def test_it_is_never_larger_than_the_terminal(width: int, height: int, lanes: int) -> None:
    """
    A screen that wraps or scrolls tears itself apart at the next frame.
    """
    troubles = [f"job {n:08x} failed (filtered): {'because of it ' * 20}" for n in range(9)]
    lines = drawn(busy_status(lanes), width, height, troubles=troubles)

    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_it_says_how_far_how_fast_and_how_much() -> None:
    """
    Every number of the status is there, in words.
    """
    text = "\n".join(drawn(busy_status()))

    assert "132 of 200 jobs   66 %" in text
    assert "128 done     4 failed    10 running     2 fetching    54 waiting     2 unknown" in text
    assert "42 of 100 in any 60 s" in text
    assert "10 of 10" in text
    assert "$3.20 of $5.00 for this run" in text
    assert "$3.20 spent ($0.10 on failures) · $0.30 reserved" in text
    assert "1:00 · about 3 min left" in text


def test_a_lane_that_is_out_is_named_and_its_limits_do_not_count() -> None:
    """
    What cannot create gives no room.
    """
    lines = drawn(busy_status(lanes=4))

    assert any("key-3" in line and "out" in line for line in lines)
    assert any("126 of 300 in any 60 s" in line for line in lines)


def test_a_lane_that_creates_nothing_says_why() -> None:
    """
    As far as the line has room.
    """
    lane = replace(make_lane("card", "off", held=0), why="is off by fluxbatch ctl: declined")
    lines = drawn(make_status({JobState.PENDING: 9}, lanes=(lane, make_lane())), width=120)

    assert any("card" in line and "is off by fluxbatch ctl: declined" in line for line in lines)


def test_hundred_percent_is_kept_for_the_end() -> None:
    """
    999 of 1000 is not all.
    """
    almost = "\n".join(drawn(make_status({JobState.DONE: 9_999, JobState.PENDING: 1})))
    done = "\n".join(drawn(make_status({JobState.DONE: 10_000})))

    assert "99 %" in almost
    assert "100 %" in done


def test_the_bars_are_readable_without_colour_and_without_unicode() -> None:
    """
    Full and empty differ in shape.
    """
    status = make_status({JobState.DONE: 50, JobState.PENDING: 50})

    assert "━━━━──" in "".join(drawn(status))
    assert "####--" in "".join(drawn(status, marks=ASCII_MARKS))


def test_stopping_says_why_and_what_a_second_interrupt_does() -> None:
    """
    The first Ctrl-C is answered on the screen.
    """
    stopped = make_status(_STATES, stopping="SIGINT received")

    assert "finishing what runs" in "\n".join(drawn(stopped))
    assert "Ctrl-C again leaves at once" in "\n".join(drawn(stopped))


def test_an_empty_run_is_drawn_too() -> None:
    """
    No jobs, no lanes, no money: no division by any of them.
    """
    assert drawn(make_status({}, lanes=()))
