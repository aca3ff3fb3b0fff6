"""The reader of the live page in a real Chromium: what one is at, no change undoes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import RatingFile
from tests.report.datasets import PHOTOS, making, row, small_images
from tests.report.live_server import serving
from tests.report.test_live_judging import UNREACHED, notices
from tests.report.test_live_page import visiting
from tests.support.commands import fluxbatch

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at


@contextmanager
def growing(root: Path, *, rows: int, done: int) -> Iterator[tuple[Folder, Callable[[int], None]]]:
    """A dataset of *rows* rows, *done* of them with images, and what makes the image of another."""
    pictures = small_images(root.parent / "pictures")
    given = [row(n, {"prompt": f"a cat, study {n}"}, PHOTOS[0]) for n in range(1, rows + 1)]
    with making(root) as made:

        def come(number: int) -> None:
            made.image(number, *pictures[number % len(pictures)])
            made.books.db.commit()
            made.books.db.begin()

        made.begin(given)
        for number in range(1, done + 1):
            come(number)
        yield made.folder, come


def test_a_note_and_a_zoom_stay_while_new_images_come(browser: Browser, tmp_path: Path) -> None:
    """
    Neither letters nor the cursor are moved, nor the place of the zoom; then the note is written.
    """
    with (
        growing(tmp_path / "ds", rows=7, done=4) as (folder, come),
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick") as page,
    ):
        note, frame = page.get_by_label("Note"), page.locator("#frame")
        expect(page.locator("#judged-words")).to_contain_text("of 4 judged")
        page.wait_for_function("() => document.getElementById('whole').naturalWidth > 0")
        page.keyboard.press("z")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        placed = frame.evaluate("frame => [frame.scrollLeft, frame.scrollTop]")
        note.focus()
        page.keyboard.type("six fingers")
        page.keyboard.press("Home")
        for number in (5, 6):
            come(number)
            expect(page.locator("#judged-words")).to_contain_text(f"of {number} judged")
            page.keyboard.type(f"{number} ")
        fluxbatch("rate", folder.root, "row-00001", "keep")
        expect(page.locator("#judged-words")).to_contain_text("1 of 6 judged")
        page.keyboard.type("left ")
        assert note.input_value() == "5 6 left six fingers"
        assert frame.evaluate("frame => [frame.scrollLeft, frame.scrollTop]") == placed
        expect(page.locator("#caption")).to_contain_text("row-00004")
        page.keyboard.press("Enter")
        page.locator("#caption").click()
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#caption")).to_contain_text("row-00005")
        assert note.input_value() == ""
    written = RatingFile(folder).read().values()

    assert [one.note for one in written if one.note] == ["5 6 left six fingers"]


def test_who_judges_what_is_not_judged_stays_at_an_image_that_another_has_judged(
    browser: Browser, tmp_path: Path
) -> None:
    """
    It leaves the list, and not the page; the next one is what came after it.
    """
    with (
        growing(tmp_path / "ds", rows=4, done=4) as (folder, _),
        serving(folder.root) as url,
        visiting(browser, f"{url}#images") as page,
    ):
        page.get_by_label("Rating").select_option("unrated")
        expect(page.locator("#count")).to_have_text("4 images")
        page.locator(".tile", has_text="row-00003").click()
        expect(page.locator("#caption")).to_contain_text("row-00003")
        page.get_by_label("Note").fill("mine")
        fluxbatch("rate", folder.root, "row-00003", "keep")
        expect(page.locator("#judged-words")).to_contain_text("1 of 4 judged")
        assert page.get_by_label("Note").input_value() == "mine"
        page.get_by_role("button", name="The next image").click()
        expect(page.locator("#caption")).to_contain_text("row-00002")


def test_a_note_that_was_not_written_is_there_to_be_sent_again(
    browser: Browser, tmp_path: Path
) -> None:
    """
    By Enter, also after the reader has looked at another image.
    """
    with (
        growing(tmp_path / "ds", rows=2, done=2) as (folder, _),
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick", expected=UNREACHED) as page,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00002")
        ratings = RatingFile(folder).path
        ratings.symlink_to(tmp_path / "elsewhere")
        page.get_by_label("Note").fill("six fingers")
        page.keyboard.press("Enter")
        notices(page, "Not written for row-00002: ")
        page.get_by_role("button", name="The next image").click()
        expect(page.get_by_label("Note")).to_have_value("")
        page.get_by_role("button", name="The image before").click()
        expect(page.get_by_label("Note")).to_have_value("six fingers")
        ratings.unlink()
        page.get_by_label("Note").press("Enter")
        expect(page.locator("#notice p")).to_have_count(0)
        (written,) = RatingFile(folder).read().values()
        assert written.note == "six fingers"


def test_where_a_reader_has_scrolled_to_stays_in_sight_while_new_images_come(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Images are newest first: each new one would push all others on.
    """
    with (
        growing(tmp_path / "ds", rows=120, done=100) as (folder, come),
        serving(folder.root) as url,
        visiting(browser, f"{url}#images") as page,
    ):
        expect(page.locator("#count")).to_have_text("100 images")
        page.locator("#gallery").evaluate("box => box.scrollTo(0, box.scrollHeight / 2)")
        tile = page.locator(".tile", has_text="row-00050")
        expect(tile).to_be_in_viewport()
        before = tile.bounding_box()
        for number in range(101, 121):
            come(number)
        expect(page.locator("#count")).to_have_text("120 images")
        expect(tile).to_be_in_viewport()
        after = tile.bounding_box()

    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) <= before["height"]


def test_what_another_page_or_a_command_judges_is_seen_at_once(
    browser: Browser, tmp_path: Path
) -> None:
    """
    In Pick and on the tiles, and its undo too.
    """
    with (
        growing(tmp_path / "ds", rows=3, done=3) as (folder, _),
        serving(folder.root) as url,
        visiting(browser, f"{url}#pick") as page,
        visiting(browser, f"{url}#images") as images,
        visiting(browser, f"{url}#pick") as other,
    ):
        expect(page.locator("#caption")).to_contain_text("row-00003 · not judged")
        expect(page.locator("#live")).to_have_text("no run is at work")
        expect(other.locator("#caption")).to_contain_text("row-00003 · not judged")
        expect(images.locator(".tile")).to_have_count(3)
        other.keyboard.press("x")
        expect(page.locator("#caption")).to_contain_text("row-00003 · reject")
        expect(page.get_by_role("button", name="Reject")).to_have_attribute("aria-pressed", "true")
        expect(images.locator(".tile.reject")).to_have_count(1)
        fluxbatch("rate", folder.root, "row-00003", "5", "--note", "the best")
        expect(page.locator("#caption")).to_contain_text("5 stars")
        expect(page.get_by_label("Note")).to_have_value("the best")
        other.keyboard.press("u")
        expect(page.get_by_label("Note")).to_have_value("")
