"""A real Chromium, where one is to be found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_NONE = (
    "NOT RUN: no Chromium was found; the report was not tested in a browser"
    " (apt-get install chromium, or name one: CHROMIUM=/path/to/chrome)"
)


def chromium(playwright: Playwright) -> str | None:
    if given := os.environ.get("CHROMIUM"):
        return given
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="module")  # its loop must be gone when other modules' async tests begin
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        executable = chromium(playwright)
        if executable is None:
            pytest.skip(_NONE)
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()
