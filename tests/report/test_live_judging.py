"""Judgements on the live page in a real Chromium: none is shown that was not written."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from fluxbatch.dataset.ratings import RatingFile, Verdict
from tests.report.datasets import making
from tests.report.live_server import serving
from tests.report.test_live_page import visiting
from tests.report.test_live_server import four_images

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

UNREACHED = "Failed to load resource"
"""What a browser's console says of every request without an answer, or with a refusal."""


def notices(page: Page, words: str) -> None:
    expect(page.locator("#notice")).to_contain_text(words)


def test_what_is_judged_while_the_server_is_gone_is_taken_back_and_said(
    browser: Browser, tmp_path: Path
) -> None:
    """
    The words name the images, and stay until the reader puts them away.
    """
    folder = four_images(tmp_path / "ds")
    with ExitStack() as server:
        url = server.enter_context(serving(folder.root))
        with visiting(browser, f"{url}#pick", expected=UNREACHED) as page:
            expect(page.locator("#caption")).to_contain_text("row-00004")
            expect(page.locator("#live")).to_have_text("no run is at work")
            server.close()
            page.keyboard.press("k")
            notices(page, "Not written for row-00004: the server does not answer")
            page.keyboard.press("3")
            notices(page, "Not written for row-00004, row-00003: the server does not answer")
            expect(page.locator("#caption")).to_contain_text("row-00003")
            expect(page.locator('#keys [aria-pressed="true"]')).to_have_count(0)
            page.keyboard.press("ArrowLeft")
            expect(page.locator("#caption")).to_contain_text("row-00004 · not judged")
            assert Axe().run(page).response["violations"] == []
            page.get_by_role("button", name="Understood").click()
            expect(page.locator("#notice p")).to_have_count(0)

    assert RatingFile(folder).read() == {}


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ((), "the page is of an earlier `fluxbatch serve`; load it again"),
        (("--control",), "open the address that `fluxbatch serve` prints now"),
    ],
)
def test_a_page_of_an_earlier_server_says_so_and_shows_nothing_as_judged(
    browser: Browser, tmp_path: Path, flags: tuple[str, ...], remedy: str
) -> None:
    """
    One image or many at once, before anything is judged too; loaded again, it writes.
    """
    folder = four_images(tmp_path / "ds")
    with ExitStack() as server:
        url = server.enter_context(serving(folder.root, *flags))
        with visiting(browser, f"{url}#pick", expected=UNREACHED) as page:
            page.evaluate("location.hash = 'pick'")
            expect(page.locator("#caption")).to_contain_text("row-00004")
            server.close()
            again = ("--port", str(urlsplit(url).port), *flags)
            url = server.enter_context(serving(folder.root, *again))
            notices(page, "Not connected" if flags else "This page is of an earlier server")
            page.keyboard.press("k")
            notices(page, f"Not written for row-00004: {remedy}")
            page.get_by_role("link", name="Images").click()
            page.get_by_role("button", name="Choose many").click()
            page.get_by_role("button", name="All found").click()
            page.keyboard.press("x")
            notices(page, "row-00004, 4 images")
            expect(page.locator(".tile.keep, .tile.reject")).to_have_count(0)
            assert RatingFile(folder).read() == {}
            page.goto(url)
            page.get_by_role("link", name="Pick").click()
            expect(page.locator("#caption")).to_contain_text("row-00004")
            expect(page.locator("#notice p")).to_have_count(0)
            page.keyboard.press("k")
            expect(page.locator("#judged-words")).to_contain_text("1 kept")

    assert [one.verdict for one in RatingFile(folder).read().values()] == [Verdict.KEEP]


def test_what_the_reader_has_put_away_is_not_said_again(browser: Browser, tmp_path: Path) -> None:
    """
    The page goes on trying to connect, and is refused each time for the same reason.
    """
    folder = four_images(tmp_path / "ds")
    with ExitStack() as server:
        url = server.enter_context(serving(folder.root, "--control"))
        with visiting(browser, url, expected=UNREACHED) as page:
            expect(page.locator("#live")).to_have_text("no run is at work")
            server.close()
            again = ("--port", str(urlsplit(url).port), "--control")
            server.enter_context(serving(folder.root, *again))
            notices(page, "Not connected")
            page.get_by_role("button", name="Understood").click()
            for _ in range(2):
                with page.expect_response("**/api/judged") as refused:
                    pass
                assert refused.value.status == 403
            expect(page.locator("#notice p")).to_have_count(0)


def test_a_refusal_is_told_in_words_until_something_is_written(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Never as JSON; here the ratings cannot be written, and then they can.
    """
    folder = four_images(tmp_path / "ds")
    ratings = RatingFile(folder).path
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick", expected=UNREACHED) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00004")
        ratings.symlink_to(tmp_path / "elsewhere")
        page.keyboard.press("k")
        notices(page, "Not written for row-00004: ")
        notices(page, "is a link")
        assert "{" not in page.locator("#notice").inner_text()
        ratings.unlink()
        page.keyboard.press("k")
        expect(page.locator("#notice p")).to_have_count(0)
        page.keyboard.press("u")
        expect(page.locator("#judged-words")).to_have_text("0 of 4 judged: 0 kept, 0 rejected")


def test_where_there_is_no_image_no_key_sends_anything(browser: Browser, tmp_path: Path) -> None:
    """
    Also where a search has just emptied what was shown.
    """
    with making(tmp_path / "none") as made:
        made.begin([])
    folder = four_images(tmp_path / "ds")
    posted: list[str] = []
    for root in (made.folder.root, folder.root):
        with serving(root) as url, visiting(browser, f"{url}#images") as page:
            page.on("request", lambda sent: posted.append(sent.url) if sent.post_data else None)
            page.get_by_label("Search").fill("no such words")
            expect(page.locator("#count")).to_have_text("0 images")
            page.get_by_role("link", name="Pick").click()
            for key in "kx1z":
                page.keyboard.press(key)
            page.keyboard.press("ArrowRight")
            expect(page.locator("#notice p")).to_have_count(0)
            expect(page.locator("#judged-words")).to_contain_text("0 kept, 0 rejected")

    assert posted == []
