"""The live page of 50,000 images in a real Chromium: how soon it is usable, and its scrolling.

`python -m benchmarks.live_page [OUTPUTS [FOLDER]]`; in FOLDER the dataset stays and is taken again.
A view's time is from the navigation to its first whole picture (of *Now*, to its figures), by the
page's own clock, with a server that has just begun and no small copies kept: the median of five.
Scrolling is told by the longest time between two frames in three seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.side import tell
from tests.report.conftest import chromium
from tests.report.datasets import making, row, small_images

_OUTPUTS = 50_000
_COLUMNS = 250
_TRIES = 5
_USABLE = {
    "now": "() => document.querySelectorAll('#figures dd').length > 3",
    "images": "() => [...document.querySelectorAll('#gallery img')].some(seen)",
    "grid": "() => [...document.querySelectorAll('#grid .cell img')].some(seen)",
}
_SEEN = "window.seen = (picture) => picture.complete && picture.naturalWidth > 0;"
_SCROLLED = {"images": "#gallery", "grid": "#grid-frame"}
_SCROLL = """
async (name) => {
  const box = document.querySelector(name);
  let longest = 0, last = performance.now();
  const end = last + 3000;
  while (last < end) {
    box.scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  return longest;
}
"""


def main(outputs: int = _OUTPUTS, kept: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as passing, sync_playwright() as playwright:
        folder = kept or Path(passing)
        if not (folder / "made").exists():
            # Apart: a server's memory is counted from that of the process which starts it.
            making_it = get_context("spawn").Process(target=_make, args=(folder, outputs))
            making_it.start()
            making_it.join()
            if making_it.exitcode:
                raise SystemExit("the dataset could not be made")
        browser = playwright.chromium.launch(
            executable_path=chromium(playwright), args=["--no-sandbox", "--disable-gpu"]
        )
        told = {view: _measured(browser, folder / "dataset", view) for view in _USABLE}
        browser.close()
    tell("live_page", told, keep=outputs == _OUTPUTS)


def _measured(browser: Browser, dataset: Path, view: str) -> dict[str, float]:
    tries = [_opened(browser, dataset, view) for _ in range(_TRIES)]
    return {name: round(median(one[name] for one in tries), 2) for name in tries[0]}


def _opened(browser: Browser, dataset: Path, view: str) -> dict[str, float]:
    told: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache, _serving(dataset, Path(cache), told) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.add_init_script(_SEEN)
        page.goto(f"{url}#{view}", wait_until="commit")
        page.wait_for_function(_USABLE[view])
        told["usable_s"] = page.evaluate("performance.now()") / 1_000
        if name := _SCROLLED.get(view):
            told["longest_frame_ms"] = _scrolled(page, name)
        page.close()
    return told


def _scrolled(page: Page, name: str) -> float:
    longest: float = page.evaluate(_SCROLL, name)
    return longest


@contextmanager
def _serving(dataset: Path, cache: Path, told: dict[str, float]) -> Iterator[str]:
    """A server of its own, whose memory and CPU are told when it is gone."""
    command = [sys.executable, "-m", "fluxbatch", "serve", str(dataset), "--json"]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    told["server_mb"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1_024) / 2**20
    told["server_cpu_s"] = usage.ru_utime + usage.ru_stime


def _make(folder: Path, outputs: int) -> None:
    """A sweep of which every image is made: 250 guidances by as many seeds as are needed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = -(-outputs // _COLUMNS)
    rows = []
    for number, (seed, guidance) in enumerate(
        islice(product(range(lines), range(_COLUMNS)), outputs), 1
    ):
        axes = {"guidance": 1 + guidance / 10, "seed": seed}
        given = {"prompt": f"a lighthouse in oil, study {number}", **axes}
        rows.append(row(number, given, axes=axes))
    pictures = small_images(folder / "pictures")
    with making(folder / "dataset") as made:
        made.begin(rows)
        for number in range(1, outputs + 1):
            made.image(number, *pictures[number % len(pictures)])
    (folder / "made").touch()


if __name__ == "__main__":
    words = iter(sys.argv[1:])
    main(int(next(words, _OUTPUTS)), *map(Path, words))
