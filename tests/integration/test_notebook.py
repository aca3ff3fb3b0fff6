"""A notebook, executed in a real kernel against the emulator: what its cells show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Dialog

from tests.report.conftest import browser as browser
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.notebook import (
    ATTACK,
    Executed,
    client_for,
    facts_of,
    kernel_environment,
    rows_cell,
)

pytestmark = pytest.mark.proof

JOBS = 15
CELLS = (
    rows_cell(JOBS),
    "fluxbatch.plan(rows, out='dataset', budget='5.00')",
    "fluxbatch.run(rows, out='dataset', budget='5.00')",
    "fluxbatch.Dataset.open('dataset')",
    "dataset = fluxbatch.Dataset.open('again'); summary = await dataset.run(rows[:2])",
    "fluxbatch.run(rows[:3], out='dataset', progress=False)",
    "dataset.sync.status().jobs.total",
)


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture(scope="module")
def executed(provider: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    folder = tmp_path_factory.mktemp("notebook")
    client = client_for(folder, *CELLS)
    client.execute(env=kernel_environment(folder, provider))
    return Executed(client.nb)


def test_a_plan_shows_its_figures_and_what_it_begins_from(executed: Executed) -> None:
    html = executed.html(1)

    assert "Plan of the rows given" in html
    assert facts_of(html)["jobs"] == f"{JOBS}: {JOBS} new"
    assert facts_of(html)["cost"] == "$0.375"
    assert facts_of(html)["budget"] == "$5.00 per run: enough"
    assert html.count("data:image/webp;base64,") == 3


def test_a_run_shows_its_progress_and_then_its_summary(executed: Executed) -> None:
    """
    The bar is there by itself and ends full.
    """
    ((value, most, words),) = executed.bars(2)
    html = executed.html(2)

    assert (value, most) == (JOBS, JOBS)
    assert f"{JOBS} images, $0.375 spent" in words
    assert facts_of(html)["jobs"] == f"{JOBS}: {JOBS} done"
    assert facts_of(html)["images"] == f"{JOBS} of this run, {JOBS} in all"
    assert html.count("data:image/webp;base64,") == 12


def test_a_dataset_shows_where_it_stands_and_its_latest_images(executed: Executed) -> None:
    html = executed.html(3)

    assert "Dataset dataset" in html
    assert facts_of(html)["spent"] == "$0.375"
    assert html.count("data:image/webp;base64,") == 12


def test_an_awaited_run_has_a_bar_too_and_one_that_wants_none_has_none(
    executed: Executed,
) -> None:
    ((value, most, _),) = executed.bars(4)

    assert (value, most) == (2, 2)
    assert executed.bars(5) == []
    assert facts_of(executed.html(5))["images"] == f"0 of this run, {JOBS} in all"


def test_a_twin_is_called_from_a_cell(executed: Executed) -> None:
    """
    Whose loop runs; and nothing was printed by anybody, no warning either.
    """
    assert executed.text(6) == "2"
    assert executed.streams() == []


def test_what_is_shown_runs_nothing_and_asks_for_nothing(
    executed: Executed, browser: Browser
) -> None:
    """
    A prompt that is a script stays text, in a real browser too; every image is in the page.
    """
    page = browser.new_page()
    dialogs: list[Dialog] = []
    requests: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    page.on("request", lambda request: requests.append(request.url))
    for cell in (1, 2, 3):
        html = executed.html(cell)
        page.set_content(html)
        assert page.locator("script").count() == 0
        assert page.locator("figcaption").first.inner_text().count(ATTACK) == 1
        widths = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
        assert len(widths) >= 3
        assert min(widths) > 0
        alts = page.eval_on_selector_all("img", "all => all.map(one => one.alt)")
        assert all(ATTACK in alt for alt in alts)
    page.close()

    assert dialogs == []
    assert [url for url in requests if not url.startswith("data:image/webp;base64,")] == []
