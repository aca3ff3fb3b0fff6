"""The live page in a real Chromium: what a person would look at, click and type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import RatingFile, Verdict
from tests.report.datasets import large_dataset
from tests.report.live_server import serving
from tests.report.test_grid import swept
from tests.report.test_live_server import SCRIPT, four_images
from tests.support.commands import fluxbatch, started
from tests.support.emulator import emulator_process

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at
RUN_JOBS = 200
expect.set_options(timeout=30_000)  # figures rest for forty times as long as they took


@contextmanager
def visiting(
    browser: Browser, url: str, *, width: int = 1280, height: int = 860, expected: str = "\0"
) -> Iterator[Page]:
    """The page; whatever it complains about fails the test, but for what has *expected* in it."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    trouble: list[str] = []

    def refuse(dialog: Dialog) -> None:
        trouble.append(dialog.message)
        dialog.dismiss()

    page.on("console", lambda said: trouble.append(said.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", refuse)
    page.set_default_timeout(15_000)
    page.goto(url)
    yield page
    page.context.close()
    assert [text for text in trouble if expected not in text] == []


def test_a_run_is_watched_from_its_first_job_to_its_last_without_a_reload(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Figures and tiles come by themselves, each image once.
    """
    manifest = tmp_path / "rows.csv"
    lines = [f"a lighthouse number {n},https://photos.example/a.png" for n in range(RUN_JOBS)]
    manifest.write_text("prompt,control_image\n" + "\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "ds"
    env = {"FLUXBATCH_LIMITS__WINDOW": "1.2", "FLUXBATCH_SINK__MIN_FREE": "0"}
    with emulator_process() as emulator:
        words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--quiet")
        with started(*words, env=env) as run:
            while not (out / "ledger.sqlite").exists() and run.poll() is None:
                pass
            with serving(out) as url, visiting(browser, url) as page:
                expect(page.locator("#live")).to_have_text("a run is at work")
                page.get_by_role("link", name="Images").click()
                expect(page.locator("#count")).to_have_text(f"{RUN_JOBS} images", timeout=90_000)
                page.get_by_role("link", name="Now").click()
                expect(page.locator("#bar")).to_have_attribute("aria-label", f"{RUN_JOBS} done")
                assert run.wait(timeout=60) == 0


def test_twenty_images_are_judged_by_keyboard_alone_and_one_judgement_is_undone(
    browser: Browser, tmp_path: Path
) -> None:
    """
    The keys are typed as fast as they can be, and each counts once.
    """
    folder = large_dataset(tmp_path / "ds", 30)
    with serving(folder.root) as url, visiting(browser, f"{url}#pick") as page:
        expect(page.locator("#caption")).to_contain_text("not judged")
        for number in range(20):
            page.keyboard.press("x" if number % 4 == 3 else "k")
        expect(page.locator("#judged-words")).to_contain_text("15 kept, 5 rejected")
        page.keyboard.press("u")
        expect(page.locator("#judged-words")).to_contain_text("15 kept, 4 rejected")
        page.keyboard.press("4")
        page.get_by_role("link", name="Images").click()
        page.get_by_label("Rating").select_option("reject")
        expect(page.locator("#count")).to_have_text("4 images")
        expect(page.locator(".tile.reject")).to_have_count(4)
    verdicts = [one.verdict for one in RatingFile(folder).read().values()]

    assert verdicts.count(Verdict.KEEP) == 15
    assert verdicts.count(Verdict.REJECT) == 4


def test_judged_images_are_exported_and_made_anew_within_a_budget(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Twenty judged by keyboard, one undone; what is kept is exported, what is rejected is made once
    more, and the page shows it without a reload.
    """
    manifest = tmp_path / "rows.csv"
    lines = [f"a lighthouse number {n},https://photos.example/a.png" for n in range(20)]
    manifest.write_text("prompt,control_image\n" + "\n".join(lines) + "\n", encoding="utf-8")
    out, exported = tmp_path / "ds", tmp_path / "kept.jsonl"
    with emulator_process() as emulator:
        words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--quiet")
        assert fluxbatch(*words).code == 0
        with serving(out) as url, visiting(browser, f"{url}#pick") as page:
            expect(page.locator("#caption")).to_contain_text("not judged")
            for number in range(20):
                page.keyboard.press("x" if number % 4 == 3 else "k")
            expect(page.locator("#judged-words")).to_contain_text("15 kept, 5 rejected")
            page.keyboard.press("u")
            expect(page.locator("#judged-words")).to_contain_text("15 kept, 4 rejected")
            kept = ("export", out, "-f", "jsonl", "--to", exported, "--where", "rating=keep")
            assert fluxbatch(*kept).code == 0
            told = fluxbatch("reroll", out, "--where", "rating=reject", "--budget", "0.05")
            page.get_by_role("link", name="Images").click()
            expect(page.locator("#count")).to_have_text("22 images")
            page.get_by_role("link", name="Now").click()
            expect(page.locator("#figures")).to_contain_text("2 done, 2 waiting for `reroll`")
            expect(page.locator("#next")).to_contain_text("makes 2 rerolls that it has left")
        billed = emulator.stats()["billed"]

    assert len(exported.read_text(encoding="utf-8").splitlines()) == 15
    assert (told.code, billed) == (4, 22)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_passes_the_checks_for_who_reads_by_a_screen_reader(
    browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    """
    Names, roles and contrast, as axe-core knows them.
    """
    folder = swept(tmp_path / "ds")
    found: dict[str, list[str]] = {}
    with serving(folder.root) as url, visiting(browser, url) as page:
        page.emulate_media(color_scheme=scheme)
        views = {"Now": "#figures dd", "Images": ".tile", "Grid": ".cell", "Pick": "#caption"}
        for view, ready in views.items():
            page.get_by_role("link", name=view).click()
            expect(page.locator(ready).first).to_be_visible()
            told = Axe().run(page).response["violations"]
            found[view] = [f"{one['id']}: {one['help']}" for one in told]

    assert found == {"Now": [], "Images": [], "Grid": [], "Pick": []}


def test_a_tile_has_a_name_before_its_details_are_there(browser: Browser, tmp_path: Path) -> None:
    """
    A screen reader would say "button" alone.
    """
    folder = four_images(tmp_path / "ds")
    held: list[Route] = []
    is_held = True

    def hold(route: Route) -> None:
        if is_held:
            held.append(route)
        else:
            route.continue_()

    with serving(folder.root) as url, visiting(browser, url) as page:
        page.route("**/api/items*", hold)
        page.get_by_role("link", name="Images").click()
        expect(page.get_by_role("button", name="image 1")).to_be_visible()
        expect(page.locator("#count")).to_have_text("4 images")
        is_held = False
        for route in held:
            route.continue_()
        expect(page.get_by_role("button", name="row-00001")).to_be_visible()


def test_two_servers_on_one_host_are_watched_side_by_side(browser: Browser, tmp_path: Path) -> None:
    """
    A browser has one jar of cookies for all ports of a host.
    """
    first, second = (four_images(tmp_path / name / "ds") for name in "ab")
    with (
        serving(first.root, "--control") as one,
        serving(second.root, "--control") as other,
        visiting(browser, one) as page,
    ):
        expect(page.locator("#name")).to_have_text("ds")
        page.goto(other)
        expect(page.locator("#name")).to_have_text("ds")
        page.goto(f"{one.partition('?')[0]}#images")
        expect(page.locator("#count")).to_have_text("4 images")


def test_a_prompt_that_is_a_script_stays_text(browser: Browser, tmp_path: Path) -> None:
    """
    On a tile and below the image; also on a telephone.
    """
    folder: Folder = four_images(tmp_path / "ds")
    with serving(folder.root) as url, visiting(browser, url, width=390, height=780) as page:
        page.get_by_role("link", name="Images").click()
        page.get_by_label("Search").fill("script")
        expect(page.locator("#count")).to_have_text("1 images")
        expect(page.locator(".tile span")).to_contain_text(SCRIPT)
        page.locator(".tile").click()
        expect(page.locator("#caption")).to_contain_text(SCRIPT)
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert wide <= 390


def test_the_printed_address_is_opened_by_a_link_on_another_site(
    browser: Browser, tmp_path: Path
) -> None:
    """
    A chat or a mail has it: a browser keeps a strict cookie from what another site has begun.
    """
    folder = four_images(tmp_path / "ds")
    with serving(folder.root, "--control") as url, visiting(browser, "about:blank") as page:
        link = f'<a href="{url}">the page</a>'
        page.route(
            "http://chat.example/",
            lambda route: route.fulfill(body=link, content_type="text/html"),
        )
        page.goto("http://chat.example/")
        page.get_by_role("link", name="the page").click()
        expect(page.locator("#count")).to_have_text("4 images")
