"""Texts of a dataset on the live page in a real Chromium: none turns the words beside it around."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from fluxbatch.domain.job import FailureClass
from tests.report.datasets import making, row, small_images
from tests.report.live_server import serving
from tests.report.test_live_page import visiting

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

TURNS = ["\u202eturned", "\u2067turned", "a\u2069\u202eturned", "a\u2029\u202eturned"]
"""The last two end the place that an element alone gives them."""
LEFTS = """box => {
  const lefts = [];
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    if (walker.currentNode.data.trim()) lefts.push(range.getBoundingClientRect().left);
  }
  return lefts;
}"""
"""Where each piece of text begins, in the order of the page's source."""


def in_order(line: Locator) -> bool:
    lefts: list[float] = line.evaluate(LEFTS)
    assert len(lefts) > 1
    return lefts == sorted(lefts)


@pytest.mark.parametrize("turn", TURNS)
def test_a_text_that_turns_its_direction_turns_nothing_beside_it(
    browser: Browser, tmp_path: Path, turn: str
) -> None:
    """
    In a caption, on a tile, among the failures and in the grid's heads.
    """
    name = f"r{turn}"
    given = [
        row(
            n,
            {"prompt": f"{turn} cat", "seed": n},
            axes={name: f"v{turn}", "seed": n, "steps": 20},
            user_id=f"{n}{name}",
        )
        for n in (1, 2)
    ]
    with making(tmp_path / "ds") as made:
        made.begin(given)
        made.image(1, *small_images(tmp_path / "pictures")[0])
        made.fail(2, FailureClass.FILTERED, f"why {turn}")
    with (
        serving(made.folder.root) as url,
        visiting(browser, f"{url}#pick", width=1800) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("not judged")
        assert in_order(page.locator("#caption"))
        page.get_by_role("link", name="Images").click()
        expect(page.locator(".tile span")).to_contain_text("cat")
        assert in_order(page.locator(".tile span"))
        page.get_by_role("link", name="Now").click()
        failure = page.locator("#failures li").first  # below it, what to do about it
        expect(failure).to_contain_text("1 filtered: why ")
        assert in_order(failure)
        page.get_by_role("link", name="Grid").click()
        page.get_by_label("Across", exact=True).select_option("seed")
        page.get_by_label("Down", exact=True).select_option("steps")
        page.get_by_label("Facets across").select_option(index=1)
        expect(page.locator("#grid .facet span")).to_contain_text("turned")
        assert in_order(page.locator("#grid .facet span"))
