"""The buttons of the live page: who may press them, and what the run at work then does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from fluxbatch.dataset.control_client import control
from fluxbatch.dataset.folder import Folder
from tests.integration.test_ctl import at_work, ended
from tests.report.live_server import serving
from tests.report.test_live_page import visiting
from tests.report.test_live_server import ask, four_images
from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

_MANY = 1_000


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process("--speed", "10", "--image-size", "64", "--duration", "10") as running:
        yield running


def opened(address: str) -> dict[str, str]:
    """The headers of somebody who has opened the printed address."""
    cookie = ask(address, f"/?{urlsplit(address).query}")[2]["Set-Cookie"].partition(";")[0]
    found = re.search(r'-token" content="([^"]+)"', ask(address, "/", Cookie=cookie)[1])
    assert found is not None
    origin = f"http://{urlsplit(address).netloc}"
    return {"Cookie": cookie, "Origin": origin, "X_Fluxbatch_Token": found[1]}


def pressed(address: str, command: str, value: str = "") -> tuple[int, dict[str, Any]]:
    body = {"command": command, "value": value, "reason": "seen on the page"}
    status, text, _ = ask(address, "/api/run", post=body, **opened(address))
    return status, json.loads(text)


def test_a_run_is_paused_resumed_and_stopped_from_the_page(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    With the reason in the ledger, as by `ctl`.
    """
    with at_work(emulator, tmp_path, _MANY) as run, serving(tmp_path / "d", "--control") as url:
        assert pressed(url, "pause")[1]["paused"]
        before = emulator.stats()["created"]
        assert "paused: seen on the page" in fluxbatch("status", tmp_path / "d").out
        assert emulator.stats()["created"] == before
        assert not pressed(url, "resume")[1]["paused"]
        assert pressed(url, "budget", "9.5")[1]["budget_usd"] == "9.50"
        status, told = pressed(url, "budget", "much")
        assert (status, "budget 'much'" in told["error"]) == (409, True)
        assert pressed(url, "stop")[1]["stopping"]
        assert ended(run)["exit"] == 4


@pytest.mark.parametrize("missing", ["Cookie", "Origin", "X_Fluxbatch_Token"])
def test_nobody_else_who_can_log_in_here_steers_a_run(tmp_path: Path, missing: str) -> None:
    """
    The token is taken on a loopback address too; another site has neither it nor the origin.
    """
    folder = four_images(tmp_path / "ds")
    with serving(folder.root, "--control") as url:
        headers = {name: text for name, text in opened(url).items() if name != missing}
        status = ask(url, "/api/run", post={"command": "stop"}, **headers)[0]
    assert status == 403


def test_without_control_there_are_no_buttons_and_without_a_run_they_say_so(
    tmp_path: Path,
) -> None:
    folder = four_images(tmp_path / "ds")
    with serving(folder.root) as url:
        assert ask(url, "/api/run")[0] == 404
    with serving(folder.root, "--control") as url:
        assert "no run is at work" in ask(url, "/api/run", **opened(url))[1]
        assert pressed(url, "stop")[0] == 409
        assert ask(url, "/api/run", post={"command": "lane"}, **opened(url))[0] == 400


def test_what_was_changed_by_ctl_is_shown_to_who_may_press_nothing(
    browser: Browser, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Limits, a lane that is off and a pause, each with its reason, on a page without buttons.
    """
    folder = Folder(tmp_path / "d")
    with (
        at_work(emulator, tmp_path, _MANY) as run,
        serving(folder.root) as url,
        visiting(browser, url) as page,
    ):
        (lane,) = control(folder, "limits.slots", "1")["lanes"]
        expect(page.locator("#figures")).to_contain_text("of 1 slots")
        control(folder, "lane", f"{lane['label']} off", reason="card declined")
        expect(page.locator("#figures")).to_contain_text("card declined")
        control(folder, "pause", reason="lunch")
        expect(page.locator("#live")).to_have_text("a run is paused")
        expect(page.locator("#figures")).to_contain_text("UTC: lunch")
        control(folder, "stop")
        assert ended(run)["exit"] == 4


def test_a_person_pauses_resumes_and_stops(
    browser: Browser, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Stop asks once more, in the page itself.
    """
    with (
        at_work(emulator, tmp_path, _MANY) as run,
        serving(tmp_path / "d", "--control") as url,
        visiting(browser, url, width=390, height=780) as page,
    ):
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#run-state")).to_have_text("paused")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#run-state")).to_have_text("at work")
        page.get_by_label("Budget of the run").fill("12.5")
        page.get_by_role("button", name="Set").click()
        expect(page.locator("#run-said")).to_have_text("budget: done")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Stop for good?").click()
        expect(page.locator("#run-state")).to_have_text("stopping")
        page.screenshot(path=str(tmp_path / "buttons.png"))
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert ended(run)["exit"] == 4
    assert wide <= 390
