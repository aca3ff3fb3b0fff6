"""The report in a real Chromium, from `file://`: what a person would look at, click and type."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.report import ReportDir, write_report
from tests.report.datasets import PHOTOS, large_dataset, making, row, small_images

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

OUTPUTS = 5_000
SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    '"><img src=x onerror="window.pwned = 1">',
    "' onmouseover='window.pwned = 1",
    "]]></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029\u202egnp.exe \x07 \U0001f408",
    "javascript:alert(1)",
)


@dataclass
class Visit:
    """A page, and everything it did that it should not."""

    page: Page
    trouble: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)

    def heard(self, said: ConsoleMessage) -> None:
        if "ERR_FILE_NOT_FOUND" not in said.text:  # the dataset of a mailed report
            self.trouble.append(said.text)

    def alarmed(self, dialog: Dialog) -> None:
        self.trouble.append(dialog.message)
        dialog.dismiss()


class Visitor:
    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.visits: list[Visit] = []

    def opens(
        self,
        report: Path,
        *,
        width: int = 1280,
        height: int = 860,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        visit = Visit(context.new_page())
        self.visits.append(visit)
        page = visit.page
        page.on("console", visit.heard)
        page.on("pageerror", lambda error: visit.trouble.append(str(error)))
        page.on("dialog", visit.alarmed)
        page.on("request", lambda request: visit.asked_for.append(request.url))
        page.set_default_timeout(15_000)
        page.goto((report / "index.html").as_uri())
        return page


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """After each test: no error, no word in the console, nothing asked for but files."""
    made = Visitor(browser)
    yield made
    for visit in made.visits:
        assert visit.trouble == []
        assert visit.asked_for
        assert [url for url in visit.asked_for if not url.startswith("file:")] == []
        visit.page.context.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 5,000 outputs of a sweep, mailed: away from its dataset."""
    place = tmp_path_factory.mktemp("large")
    folder = large_dataset(place / "dataset", OUTPUTS)
    write_report(ReportDir.of(folder, None), most=10 * OUTPUTS)
    return (folder.root / "report").rename(place / "report")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile texts wherever a user or the provider can put one, beside their dataset."""
    root = tmp_path_factory.mktemp("hostile") / "<b>data & set"
    photo = root.parent / "<img src=x>.jpg"
    shutil.copy(PHOTOS[0], photo)
    pictures = small_images(root.parent / "pictures")
    rows = [
        row(
            number,
            {"prompt": text, "note": text, "steps": number},
            photo,
            user_id=f"{text} {number}",
            axes={"guidance": number % 3, "style": text},
        )
        for number, text in enumerate(HOSTILE * 2, 1)
    ]
    rows.append(row(99, {"prompt": "x"}, axes={}))
    with making(root) as made:
        made.begin(rows)
        for number, text in enumerate(HOSTILE, 1):
            made.image(number, *pictures[number], quality=(Quality.FLAT,))
            made.fail(number + len(HOSTILE), FailureClass.FILTERED, text)
    folder = Folder(root)
    write_report(ReportDir.of(folder, None), most=1_000)
    return root / "report"


def tiles(page: Page) -> Any:
    return page.locator(".tile")


def test_five_thousand_outputs_open_in_less_than_two_seconds(visitor: Visitor, large: Path) -> None:
    """
    First view and first images; a few dozen tiles exist, wherever one scrolls.
    """
    page = visitor.opens(large)
    page.wait_for_function("() => document.querySelector('.tile img')?.complete")
    ready_ms = page.evaluate("() => performance.now()")
    # An image may be complete before the frame it is in was painted.
    paint = page.wait_for_function(
        "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    painted_ms = paint.json_value()
    assert painted_ms < 2_000
    assert ready_ms < 2_000
    expect(page.locator("#count")).to_have_text(f"{OUTPUTS:,} in all")

    for _ in range(20):
        page.mouse.wheel(0, 4_000)
    page.wait_for_function("() => !document.querySelector('[aria-posinset=\"2\"]')")
    assert 10 <= tiles(page).count() <= 120
    page.keyboard.press("End")
    page.wait_for_function(
        f"() => document.querySelector('[aria-posinset=\"{OUTPUTS}\"] img')?.naturalWidth > 0"
    )
    assert tiles(page).count() <= 120


def test_filters_by_text_state_and_note(visitor: Visitor, large: Path) -> None:
    """
    Each by itself, together, and cleared; the count is told.
    """
    page = visitor.opens(large)
    page.get_by_role("searchbox").fill("Study 003")
    expect(page.locator("#count")).to_have_text("20 of 5,000")
    page.get_by_role("searchbox").fill("cathedral row-00031")  # apart: a prompt's and an id's
    expect(page.locator("#count")).to_have_text("1 of 5,000")
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="failed 74").click()
    expect(page.locator("#count")).to_have_text("74 of 5,000")
    expect(tiles(page).first).to_contain_text("NSFW content detected")
    page.get_by_role("button", name="black 8").click()
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Show everything").click()
    page.get_by_role("button", name="black 8").click()
    expect(page.locator("#count")).to_have_text("8 of 5,000")
    expect(tiles(page).first.locator(".badge")).to_have_text("black")


def test_the_grid_of_a_sweep_has_its_axes(visitor: Visitor, large: Path) -> None:
    """
    Values in order on both sides; a cell opens its own images; axes can be turned.
    """
    page = visitor.opens(large)
    page.get_by_role("searchbox").fill("study 003")
    page.get_by_role("button", name="Grid").click()
    heads = page.locator(".table-view thead th")
    expect(heads).to_have_text(["steps ↓  guidance →", "2.5", "5", "10", "20", "40"])
    expect(page.locator(".table-view tbody th")).to_have_text(["20", "28", "36", "50"])
    expect(page.locator(".cell")).to_have_count(20)
    page.locator(".cell").nth(6).click()
    expect(page.locator("#light-position")).to_have_text("1 of 1")
    facts = page.locator("#light-facts")
    expect(facts).to_contain_text("guidance5")
    expect(facts).to_contain_text("num_inference_steps28")
    page.keyboard.press("Escape")
    page.get_by_label("Across").select_option("steps")
    expect(heads).to_have_text(["guidance ↓  steps →", "20", "28", "36", "50"])


def test_the_lightbox_steps_by_keyboard_and_gives_the_focus_back(
    visitor: Visitor, large: Path
) -> None:
    """
    From Tab to Escape without a mouse; the tile that was last looked at has the focus.
    """
    page = visitor.opens(large)
    page.get_by_role("searchbox").fill("study 00")
    expect(page.locator("#count")).to_have_text("199 of 5,000")
    tiles(page).first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#light-title")).to_have_text("row-00002")
    expect(page.locator("#light-control")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator("#light-control")).to_be_hidden()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#light-position")).to_have_text("42 of 199")
    page.keyboard.press("End")
    expect(page.get_by_role("button", name="Next image")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).to_be_hidden()
    expect(page.locator(":focus")).to_have_attribute("data-index", "198")
    expect(page.locator(":focus")).to_be_in_viewport()


def test_a_mailed_report_shows_thumbnails_and_says_so(visitor: Visitor, large: Path) -> None:
    """
    Its dataset is elsewhere: the small image stays, with a word.
    """
    page = visitor.opens(large)
    tiles(page).first.click()
    expect(page.locator("#light-caption")).to_contain_text("not beside this report")
    assert page.evaluate("() => document.getElementById('light-img').naturalWidth") > 0


def test_images_stand_beside_their_control(visitor: Visitor, large: Path) -> None:
    """
    Two pictures in each tile.
    """
    page = visitor.opens(large)
    page.get_by_role("button", name="With control").click()
    pair = tiles(page).first.locator("img")
    expect(pair).to_have_count(2)
    expect(pair.first).to_have_attribute("alt", "control image")
    box = tiles(page).nth(1).bounding_box()
    assert box["width"] > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280, 2560])
def test_nothing_sticks_out_at_any_width(
    visitor: Visitor, large: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    """
    No sideways scrolling, in either scheme; text stands out from its ground.
    """
    page = visitor.opens(large, width=width, scheme=scheme)
    for view in ("Images", "With control", "Grid"):
        page.get_by_role("button", name=view, exact=True).click()
        over = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, view
    corner = page.locator(".table-view th").first.bounding_box()
    assert corner is not None
    assert corner["height"] < 70
    shade = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
    assert (int(shade) < 60) == (scheme == "dark")


def test_hostile_texts_stay_texts(visitor: Visitor, hostile: Path) -> None:
    """
    In tiles, attributes, the grid, the lightbox, the failures, names of rows, files and folders.
    """
    page = visitor.opens(hostile)
    expect(page.locator("h1")).to_have_text("<b>data & set")
    expect(tiles(page).first.locator(".caption")).to_have_text(SCRIPT)
    assert SCRIPT in (tiles(page).first.get_attribute("aria-label") or "")
    expect(page.locator("#failures")).to_contain_text("</script><script>window.pwned = 1</script>")
    for text in HOSTILE[:6]:
        page.get_by_role("searchbox").fill(text)
        expect(tiles(page).first.locator(".caption")).to_have_text(text)
        expect(page.locator("#count")).to_have_text(f"2 of {2 * len(HOSTILE)}")
        tiles(page).first.click()
        expect(page.locator("#light-prompt")).to_have_text(text)
        expect(page.locator("#light-facts")).to_contain_text("<img src=x>.jpg")
        page.keyboard.press("Escape")
        expect(tiles(page).first).to_be_focused()  # the page has moved to it
    page.get_by_role("searchbox").fill("")
    expect(page.locator("#count")).to_have_text(f"{2 * len(HOSTILE)} in all")
    page.get_by_role("button", name="Grid").click()
    expect(page.locator(".table-view th").filter(has_text=SCRIPT).first).to_be_visible()
    assert page.evaluate("() => window.pwned") is None
    assert "49" not in page.locator("#failures").inner_text()


def test_beside_its_dataset_the_image_itself_is_shown(visitor: Visitor, hostile: Path) -> None:
    """
    Not its thumbnail; out of a folder whose name needs quoting.
    """
    page = visitor.opens(hostile)
    tiles(page).first.click()
    page.wait_for_function("() => document.getElementById('light-img').src.includes('/images/')")
    assert page.evaluate("() => document.getElementById('light-img').naturalWidth") > 0


def test_the_policy_stops_what_slips_in(visitor: Visitor, hostile: Path) -> None:
    """
    Were a text ever to become markup: no script of it runs, and nothing is fetched.
    """
    page = visitor.opens(hostile)
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.pwned = 1';
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.pwned = 1">');
            document.body.insertAdjacentHTML('beforeend', '<img src="https://images.invalid/1.png">');
        }"""
    )
    refused = page.evaluate("() => fetch('https://images.invalid/').then(() => 0, () => 1)")
    page.wait_for_timeout(100)
    assert refused == 1
    assert page.evaluate("() => window.pwned") is None
    trouble = visitor.visits[0].trouble
    assert len([line for line in trouble if "Content Security Policy" in line]) >= 4
    trouble.clear()
    visitor.visits[0].asked_for[:] = [
        url for url in visitor.visits[0].asked_for if "images.invalid" not in url
    ]
