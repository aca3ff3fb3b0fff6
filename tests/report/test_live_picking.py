"""Picking on the live page in a real Chromium: many images at once, and one looked at closely."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from fluxbatch.dataset.ratings import RatingFile, Verdict
from tests.report.datasets import PHOTOS, large_dataset, making, row, small_images
from tests.report.live_server import serving
from tests.report.test_live_page import visiting
from tests.report.test_live_server import four_images

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at


def test_many_images_are_chosen_and_judged_at_once(browser: Browser, tmp_path: Path) -> None:
    """
    One by one, a row of them, all that a search has found; one undo takes all of it back.
    """
    folder = large_dataset(tmp_path / "ds", 60)
    with serving(folder.root) as url, visiting(browser, f"{url}#images") as page:
        tiles = page.locator(".tile")
        page.get_by_role("button", name="Choose many").click()
        tiles.nth(1).click()
        tiles.nth(4).click(modifiers=["Shift"])
        tiles.nth(2).click()
        expect(page.locator("#chosen-words")).to_have_text("3 chosen")
        expect(page.locator('.tile[aria-pressed="true"]')).to_have_count(3)
        page.keyboard.press("x")
        expect(page.locator(".tile.reject")).to_have_count(3)
        page.keyboard.press("Escape")
        page.get_by_label("Search").fill("study 001")
        expect(page.locator("#count")).to_have_text("20 images")
        page.get_by_role("button", name="All found").click()
        page.get_by_role("button", name="Keep k").first.click()
        expect(page.locator("#chosen-words")).to_have_text("20 judged")
        assert len(RatingFile(folder).read()) == 23
        page.get_by_role("button", name="Undo u").first.click()
        expect(page.locator(".tile.keep")).to_have_count(0)
        page.get_by_role("button", name="Choose many").click()
        tiles.first.click()
        expect(page.locator("#pick")).to_be_visible()
    verdicts = [one.verdict for one in RatingFile(folder).read().values()]

    assert verdicts.count(Verdict.REJECT) == 3
    assert Verdict.KEEP not in verdicts


def test_an_image_is_zoomed_and_moved_by_keys(browser: Browser, tmp_path: Path) -> None:
    """
    The arrows move it while it is zoomed, and go to the next image otherwise.
    """
    folder = four_images(tmp_path / "ds")
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick", width=390, height=780) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00004")
        page.wait_for_function("() => document.getElementById('whole').naturalWidth > 0")
        page.keyboard.press("z")
        frame = page.locator("#frame.zoomed")
        before = frame.evaluate("frame => [frame.scrollWidth / frame.clientWidth, frame.scrollTop]")
        page.keyboard.press("ArrowDown")
        after = frame.evaluate("frame => frame.scrollTop")
        page.keyboard.press("Escape")
        expect(page.locator("#frame.zoomed")).to_have_count(0)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#caption")).to_contain_text("row-00003")
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert before[0] > 1
    assert after > before[1]
    assert wide <= 390


def test_keys_judge_after_the_slider_was_used_and_its_arrows_stay_its_own(
    browser: Browser, tmp_path: Path
) -> None:
    """
    A press of the mouse on it leaves the focus there.
    """
    with making(tmp_path / "ds") as made:
        made.begin([row(n, {"prompt": "a cat", "seed": n}, PHOTOS[0]) for n in (1, 2)])
        for number in (1, 2):
            made.image(number, *small_images(tmp_path / f"pictures-{number}")[number])
    with serving(made.folder.root) as url, visiting(browser, f"{url}#pick") as page:
        slider = page.get_by_label("Control image", exact=True).and_(page.locator("input"))
        slider.click()
        expect(slider).to_be_focused()
        expect(slider).to_have_value("50")
        page.keyboard.press("ArrowRight")
        expect(slider).to_have_value("51")
        expect(page.locator("#caption")).to_contain_text("row-00002")
        page.keyboard.press("4")
        expect(page.locator("#caption")).to_contain_text("4 stars")
        page.keyboard.press("k")
        expect(page.locator("#judged-words")).to_contain_text("1 kept")
        expect(page.locator("#caption")).to_contain_text("row-00001")
        slider.focus()
        page.keyboard.press("u")
        expect(page.locator("#judged-words")).to_contain_text("0 kept")
