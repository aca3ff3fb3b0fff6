"""The grid of the live page in a real Chromium: it fills, scrolls, and is worked by keys alone."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.report.datasets import making, row
from tests.report.live_server import serving
from tests.report.test_grid import swept
from tests.report.test_live_page import visiting
from tests.report.test_live_server import SCRIPT
from tests.support.commands import fluxbatch, started
from tests.support.emulator import emulator_process

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

SWEEP = """
defaults:
  prompt: "a lighthouse in {{ style }}"
  control_image: https://photos.example/a.png
sweep:
  axes:
    style: [ink, oil, chalk, pencil]
    guidance: [2.5, 5, 10, 20, 40]
"""


def words_of(page: Page) -> list[str]:
    said: list[str] = page.locator("#grid .cell").evaluate_all("found => found.map(e => e.title)")
    return said


def test_the_grid_fills_while_a_run_goes_on(browser: Browser, tmp_path: Path) -> None:
    """
    Each missing cell shows its state and price until its image is there; nobody reloads.
    """
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    out = tmp_path / "ds"
    env = {"FLUXBATCH_SINK__MIN_FREE": "0"}
    with emulator_process() as emulator:
        words = ("run", tmp_path / "sweep.yaml", "--out", out, "--base-url", emulator.base_url)
        assert fluxbatch(*words, "--limit", 4, env=env).code == 4
        with serving(out) as url, visiting(browser, f"{url}#grid") as page:
            expect(page.locator("#grid-words")).to_have_text(
                "4 done, 16 waiting, up to $0.40 to pay, $0.10 spent"
            )
            assert words_of(page).count("waiting, up to $0.025 to pay") == 16
            with started(*words, "--quiet", env=env) as run:
                expect(page.locator("#grid-words")).to_have_text(
                    "20 done, $0.50 spent", timeout=90_000
                )
                expect(page.locator("#grid .cell img")).to_have_count(20)
                assert words_of(page) == ["done, $0.025 spent"] * 20
                assert run.wait(timeout=60) == 0


def test_a_page_that_opens_at_the_grid_asks_for_the_grid_first(
    browser: Browser, tmp_path: Path
) -> None:
    """
    The list of all images and the figures take the server's time, and nobody looks at them yet.
    """
    folder = swept(tmp_path / "ds")
    asked: list[str] = []
    with serving(folder.root) as url:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        page.on("response", lambda answer: asked.append(f"got {urlsplit(answer.url).path}"))
        page.goto(f"{url}#grid")
        expect(page.locator("#name")).to_have_text("ds")
        page.close()

    grid = asked.index("got /api/grid")
    assert grid < asked.index("/api/images") < asked.index("/events")


def test_axes_and_facets_are_chosen_and_kept_in_the_address(
    browser: Browser, tmp_path: Path
) -> None:
    """
    A choice is there again after a reload; values that are scripts stay text.
    """
    folder = swept(tmp_path / "ds")
    with serving(folder.root) as url, visiting(browser, url) as page:
        page.get_by_role("link", name="Grid").click()
        expect(page.locator("#grid .cell")).to_have_count(6)
        page.get_by_label("Facets across").select_option("steps")
        expect(page.locator("#grid .cell")).to_have_count(12)
        expect(page.locator("#grid .cell.missing")).to_have_count(8)
        expect(page.locator("#grid .facet")).to_have_text(["steps 20", "steps 28"])
        cell = page.get_by_role("gridcell", name="steps 28, guidance 10, style oil")
        expect(cell).to_have_text("running, $0.025 reserved")
        expect(page.locator("#grid .side", has_text=SCRIPT)).to_have_count(1)
        page.reload()
        expect(page.locator("#grid .cell")).to_have_count(12)
        page.get_by_label("Facets across").select_option("")
        page.get_by_label("steps", exact=True).select_option("20")
        expect(page.locator("#grid-words")).to_contain_text("2 done, 1 failed (filtered)")
        page.get_by_label("Across", exact=True).select_option("style")
        expect(page.locator("#grid .column")).to_have_text(["ink", "oil", SCRIPT])
        assert page.get_by_label("Down", exact=True).input_value() == "guidance"


def test_a_cell_is_opened_by_keys_alone(browser: Browser, tmp_path: Path) -> None:
    """
    Also on a telephone, where the page is no wider than the screen; who rates it there sees it in
    the grid.
    """
    folder = swept(tmp_path / "ds")
    where = "#grid?across=guidance&down=style&facets_down=steps"
    with (
        serving(folder.root) as url,
        visiting(browser, f"{url}{where}", width=390, height=780) as page,
    ):
        expect(page.locator("#grid .cell")).to_have_count(12)
        frame = page.locator("#grid-frame")
        frame.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#grid .cell.active")).to_have_attribute(
            "aria-label", "guidance 10, steps 20, style ink: done, $0.025 spent"
        )
        assert frame.get_attribute("aria-activedescendant") == "cell-0-1"
        page.keyboard.press("Enter")
        expect(page.locator("#caption")).to_contain_text("row-00001")
        page.keyboard.press("k")
        expect(page.locator("#judged-words")).to_contain_text("1 kept")
        page.get_by_role("link", name="Grid").click()
        expect(page.locator("#grid .cell.keep")).to_have_count(1)
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert wide <= 390


def test_a_sweep_of_twenty_thousand_cells_is_scrolled(browser: Browser, tmp_path: Path) -> None:
    """
    Only what is in sight is on the page, and the last cell is reached; none is left out.
    """
    rows = [
        row(n, {"prompt": "a cat", "seed": n}, axes={"seed": n, "half": n % 2})
        for n in range(1, 20_001)
    ]
    with making(tmp_path / "ds") as made:
        made.begin(rows)
    with serving(made.folder.root) as url, visiting(browser, f"{url}#grid") as page:
        expect(page.locator("#grid-words")).to_have_text(
            "20,000 waiting, up to $500.00 to pay", timeout=30_000
        )
        page.locator("#grid-frame").evaluate("frame => frame.scrollTo(0, frame.scrollHeight)")
        expect(page.locator("#grid .side").last).to_have_text("20000")
        shown = page.locator("#grid .cell").count()
        page.locator("#grid-frame").focus()
        for key in ("Home", "ArrowUp"):
            page.keyboard.press(key)
        expect(page.locator("#grid .side").first).to_have_text("1")

    assert 0 < shown < 100
