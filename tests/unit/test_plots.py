"""The pictures of the benchmarks: every kept result has the one that belongs to it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plot
from benchmarks.svg import Axes, Goal, Panel, Series, bars, curves

_KEPT = sorted(plot.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", _KEPT, ids=lambda path: path.stem)
def test_a_kept_result_lies_beside_its_picture(path: Path) -> None:
    """
    The picture is drawn from these very figures, and says when and where they were measured.
    """
    result = json.loads(path.read_text())
    picture = path.with_suffix(".svg").read_text(encoding="utf-8")

    assert picture == plot.draw(result)
    words = "".join(ElementTree.fromstring(picture).itertext())
    assert result["date"] in words
    assert result["machine"] in words


def test_there_are_results() -> None:
    """
    The test above would pass for nothing otherwise.
    """
    assert "overhead" in {path.stem for path in _KEPT}


def test_words_of_a_chart_cannot_break_it() -> None:
    """
    Labels are data, whatever is in them.
    """
    picture = bars("<a & b>", "today", [Panel("x", {"<i>": 0.0, "&": 2.5}, Goal(2, "at most 2"))])

    assert {"<a & b>", "<i>", "&", "2.5"} <= set(ElementTree.fromstring(picture).itertext())


@pytest.mark.parametrize("most", [1, 9.99, 10, 700, 0.03])
def test_every_point_lies_on_the_page(most: float) -> None:
    """
    Whatever the scale, a single point and equal ones included.
    """
    series = [Series("a", [(1.0, most), (1_000.0, most / 3)]), Series("b", [(7.0, most)], False)]
    for axes in (Axes("x", "y"), Axes("x", "y", log_x=True, from_zero=False, goal=Goal(most, "g"))):
        page = ElementTree.fromstring(curves("t", "f", axes, series))
        dots = [dot for dot in page.iter() if dot.get("r") in {"3", "6"}]
        assert len(dots) == 3
        assert all(68 <= float(dot.get("cx", 0)) <= 696.1 for dot in dots)
        assert all(83.9 <= float(dot.get("cy", 0)) <= 320.1 for dot in dots)
