"""The place of a served dataset: where it was moved, removed or replaced, nothing old is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import RatingFile
from tests.report.datasets import making, row, small_images
from tests.report.live_server import serving
from tests.report.test_live_judging import UNREACHED, notices
from tests.report.test_live_page import visiting
from tests.report.test_live_server import ask, four_images, of_the_page

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at


@pytest.mark.parametrize("path", ["/api/images", "/api/grid", "/image/1", "/thumb/1", "/metrics"])
def test_a_dataset_that_is_gone_is_answered_for_no_more(tmp_path: Path, path: str) -> None:
    """
    410, with words, until it is back.
    """
    folder = four_images(tmp_path / "ds")
    with serving(folder.root) as url:
        before = ask(url, path)[0]
        folder.root.rename(tmp_path / "moved")
        status, text, _ = ask(url, path)
        page = ask(url, "/")[0]
        (tmp_path / "moved").rename(folder.root)
        after = ask(url, path)[0]

    assert (before, status, page, after) == (200, 410, 200, 200)
    assert "was moved or removed" in json.loads(text)["error"]


def test_what_is_judged_is_never_written_into_another_dataset(tmp_path: Path) -> None:
    """
    The numbers are of the one that was looked at.
    """
    folder = four_images(tmp_path / "ds")
    with serving(folder.root) as url:
        ours = of_the_page(url)
        folder.root.rename(tmp_path / "moved")
        four_images(tmp_path / "new" / "ds").root.rename(folder.root)
        status, text, _ = ask(url, "/api/rate", post={"seqs": [1], "rating": "keep"}, **ours)

    assert status == 410
    assert "another dataset is at" in json.loads(text)["error"]
    assert RatingFile(folder).read() == RatingFile(Folder(tmp_path / "moved")).read() == {}


def test_a_page_says_that_its_dataset_is_gone_and_goes_on_once_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Moved and put back, then replaced by another, then removed.
    """
    folder = four_images(tmp_path / "ds")
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick", expected=UNREACHED) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00004")
        folder.root.rename(tmp_path / "moved")
        notices(page, "The dataset is not there: ")
        notices(page, "was moved or removed")
        expect(page.locator("#live")).to_have_text("the dataset is not there")
        page.keyboard.press("k")
        notices(page, "Not written for row-00004: ")
        (tmp_path / "moved").rename(folder.root)
        expect(page.locator("#notice")).not_to_contain_text("The dataset is not there")
        expect(page.locator("#live")).to_have_text("no run is at work")
        page.keyboard.press("k")
        expect(page.locator("#judged-words")).to_contain_text("1 kept")
        folder.root.rename(tmp_path / "moved")
        four_images(tmp_path / "new" / "ds").root.rename(folder.root)
        notices(page, "another dataset is at")
        shutil.rmtree(folder.root)
        notices(page, "was moved or removed")


def test_a_browser_shows_no_picture_of_another_dataset(browser: Browser, tmp_path: Path) -> None:
    """
    At the same address, by the same number, within the day for which it keeps pictures.
    """
    sides, port, shown = (64, 32), "0", []
    with visiting(browser, "about:blank", expected=UNREACHED) as page:
        for side in sides:
            pictures = small_images(tmp_path / f"pictures-{side}", side)
            with making(tmp_path / f"{side}") as made:
                made.begin([row(1, {"prompt": "a cat"})])
                made.image(1, *pictures[0])
            with serving(made.folder.root, "--port", port) as url:
                port = str(urlsplit(url).port)
                page.goto(f"{url}#pick")
                page.reload()
                page.wait_for_function("() => document.getElementById('whole').naturalWidth > 0")
                shown.append(page.evaluate("document.getElementById('whole').naturalWidth"))

    assert shown == [64, 32]
