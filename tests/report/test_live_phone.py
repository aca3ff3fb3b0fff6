"""The live page on a telephone, in a real Chromium: what is pressed, read and told apart there."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.report.datasets import making, row
from tests.report.live_server import serving
from tests.report.test_live_page import visiting
from tests.report.test_live_server import four_images

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

STYLES = ("woodcut", "watercolour", "oil on canvas, thick strokes")

SIDES = """sides => sides.map(side => {
  const around = side.getBoundingClientRect();
  const value = side.querySelector("span");
  const word = value.textContent.split(" ")[0];
  const range = document.createRange();
  const tops = new Set();
  for (let at = 0; at < word.length; at += 1) {
    range.setStart(value.firstChild, at);
    range.setEnd(value.firstChild, at + 1);
    tops.add(range.getBoundingClientRect().top);
  }
  const box = value.getBoundingClientRect();
  return {
    starts_in: box.top - around.top,
    ends_out: Math.max(box.bottom - around.bottom, box.right - around.right),
    lines: tops.size,
    width: around.width,
  };
})"""
"""Where the row's own value stands in its head, and on how many lines its first word."""


def colour(button: Locator) -> str:
    found: str = button.evaluate("button => getComputedStyle(button).color")
    return found


def test_each_key_is_large_enough_for_a_finger_and_keep_looks_unlike_reject(
    browser: Browser, tmp_path: Path
) -> None:
    """
    44 pixels each way; the page stays as wide as the screen.
    """
    folder = four_images(tmp_path / "ds")
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick", width=390, height=780) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00004")
        boxes = [key.bounding_box() for key in page.locator("#keys button").all()]
        keep, reject, undo = (
            colour(page.locator(f'#keys [data-key="{key}"]')) for key in ("k", "x", "u")
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        image = page.locator("#frame").bounding_box()

    assert len(boxes) == 11
    assert all(box and box["width"] >= 44 and box["height"] >= 44 for box in boxes)
    assert len({keep, reject, undo}) == 3
    assert wide <= 390
    assert image is not None
    assert image["height"] > 150


def test_rows_of_the_grid_are_told_apart_by_their_own_value_under_facets(
    browser: Browser, tmp_path: Path
) -> None:
    """
    It comes first, is in sight whole, and no word of it is broken.
    """
    facet = "the_number_of_inference_steps and more of them"
    given = [
        row(n, {"prompt": "a cat", "seed": n}, axes={"style": style, facet: steps, "seed": n % 2})
        for n, (style, steps) in enumerate(((s, t) for s in STYLES for t in (20, 28)), 1)
    ]
    with making(tmp_path / "ds") as made:
        made.begin(given)
    where = f"#grid?across=seed&down=style&facets_down={facet}"
    with (
        serving(made.folder.root) as url,
        visiting(browser, f"{url}{where}", width=390, height=780) as page,
    ):
        expect(page.locator("#grid .side").first).to_have_text("woodcut" + facet + " 20")
        sides = page.locator("#grid .side").evaluate_all(SIDES)
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert len(sides) == 6
    for one in sides:
        assert one["starts_in"] < 20
        assert one["ends_out"] <= 0
        assert one["lines"] == 1
        assert one["width"] <= 0.45 * 390
    assert wide <= 390


def test_a_search_without_results_says_so_and_is_undone_by_a_press(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Among the images and in Pick; a dataset without images says another thing.
    """
    folder = four_images(tmp_path / "ds")
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}#images", width=390, height=780) as page,
    ):
        expect(page.locator("#count")).to_have_text("4 images")
        everything = page.get_by_role("button", name="Show everything")
        expect(everything).to_have_count(0)
        page.get_by_label("Search").fill("no such words")
        expect(page.locator(".nothing:visible")).to_contain_text("Nothing matches the search")
        everything.click()
        expect(page.locator("#count")).to_have_text("4 images")
        expect(page.get_by_label("Search")).to_have_value("")
        page.get_by_label("Rating").select_option("keep")
        expect(page.locator("#count")).to_have_text("0 images")
        page.get_by_role("link", name="Pick").click()
        expect(page.locator("#pick .nothing:visible")).to_contain_text("Nothing matches the search")
        everything.click()
        expect(page.locator("#caption")).to_contain_text("row-00004")
        expect(everything).to_have_count(0)
    with making(tmp_path / "none") as made:
        made.begin([])
    with serving(made.folder.root) as url, visiting(browser, f"{url}#images") as page:
        expect(page.locator(".nothing:visible")).to_contain_text("No image yet")
        expect(page.get_by_role("button", name="Show everything")).to_have_count(0)
