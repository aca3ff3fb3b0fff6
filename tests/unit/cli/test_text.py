"""The numbers that the command line writes."""

from __future__ import annotations

import pytest

from fluxbatch.cli.render.text import FAILURES, about, count, folded, listed
from fluxbatch.domain.formatting import clock, dollars, duration, shortened, size
from fluxbatch.domain.job import FailureClass
from fluxbatch.domain.money import Micros


def test_every_failure_class_has_its_meaning() -> None:
    """
    A class without words would end a summary in a traceback.
    """
    assert set(FAILURES) == set(FailureClass)


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "$0.00"), (25_000, "$0.025"), (-5, "-$0.000005"), (10**9, "$1,000.00")]
)
def test_money_is_exact(micros: int, text: str) -> None:
    """
    No figure is rounded, and a sign stands before the dollar.
    """
    assert dollars(Micros(micros)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7_200, "2 h"), (93_600, "1 d 2 h")],
)
def test_a_duration_has_two_figures_at_most(seconds: float, text: str) -> None:
    """
    `2 h`, not `2 h 0 min 0 s`.
    """
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "5 s"), (33, "35 s"), (90, "1½ min"), (700, "12 min"), (5_000, "1 h 20 min")],
)
def test_an_estimate_is_coarse(seconds: float, text: str) -> None:
    """
    More figures would promise what nobody knows.
    """
    assert about(seconds) == text


def test_counts_sizes_clocks_and_lists_read_as_people_write_them() -> None:
    """
    One job, two jobs, a thousand with its comma.
    """
    assert count(1, "job") == "1 job"
    assert count(1_200, "job") == "1,200 jobs"
    assert size(264_000) == "264 kB"
    assert size(12) == "12 B"
    assert clock(42) == "0:42"
    assert clock(3_723) == "1:02:03"
    assert listed(["a", "b"], 9) == "a, b and 7 more"
    assert listed(["a", "b"], 2) == "a, b"
    assert shortened("a\nb  " + "c" * 50, 10) == "a b cccccc"[:9] + "…"


@pytest.mark.parametrize(
    ("line", "width", "lines"),
    [
        ("short", 20, ["short"]),
        ("  one two three four", None, ["  one two three four"]),
        ("  one two three four", 12, ["  one two", "    three", "    four"]),
        ("next  fluxbatch run m.jsonl --out d", 12, ["next  fluxbatch run m.jsonl --out d"]),
        ("see /a/long/path/that/stays", 12, ["see", "  /a/long/path/that/stays"]),
        ("長い長い長い長い", 10, ["長い長い", "  長い長い"]),
    ],
)
def test_a_line_is_folded_where_the_terminal_ends(
    line: str, width: int | None, lines: list[str]
) -> None:
    """
    At spaces, by columns and not by characters; commands and paths stay whole.
    """
    assert folded(line, width, hang=2) == lines
