"""The HTML of plans, runs and datasets: what cannot be shown, and what people wrote."""

from __future__ import annotations

import os
import pickle
import shutil
from html.parser import HTMLParser
from pathlib import Path

from fluxbatch import Dataset
from fluxbatch.api.notebook_html import dataset_html, plan_html, summary_html
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.queries.live_images import latest_pictures
from fluxbatch.ledger.queries.totals import JobCounts
from tests.export.made import made_dataset, row

IMAGE = "data:image/webp;base64,"
HOSTILE = "\"><img src=x onerror=alert(1)> '&amp;"


class Seen(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def made(tmp_path: Path, jobs: int = 3) -> Dataset:
    rows = [row(number, prompt=f"{HOSTILE} {number}") for number in range(1, jobs + 1)]
    failed = row(jobs + 1)
    with made_dataset(tmp_path / "d", [*rows, failed]) as maker:
        for one in rows:
            maker.done(one)
        maker.failed(failed, f"refused: {HOSTILE}")
    return Dataset(tmp_path / "d")


def summary_of(dataset: Dataset) -> RunSummary:
    totals = dataset.totals()
    jobs = JobCounts({}, 0, 0, 0)
    return RunSummary("run-1", ExitCode.DONE, HOSTILE, False, jobs, totals, totals, 1.0)


def test_texts_of_people_and_providers_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    """
    Prompts, reasons, names of files; of a name that is no text, what is.
    """
    dataset = made(tmp_path)
    bad = tmp_path / os.fsdecode(b'<b onclick="x">\xff.csv')
    bad.write_text(f"prompt,control_image\n{HOSTILE},\n")
    plan = dataset.plan(bad, model="flux-depth-dev")

    for html in (
        dataset_html(Folder(dataset.path)),
        summary_html(Folder(dataset.path), summary_of(dataset)),
        plan_html(plan),
    ):
        html.encode()
        (seen := Seen()).feed(html)
        assert seen.tags <= {
            "div", "strong", "table", "tr", "th", "td", "figure", "img", "figcaption",
        }  # fmt: skip
        assert seen.attributes <= {"style", "scope", "alt", "title", "src"}
        assert html.count("<img") == html.count(IMAGE)


def test_a_figure_of_everything_is_there(tmp_path: Path) -> None:
    dataset = made(tmp_path)
    html = dataset_html(Folder(dataset.path))

    assert "4: 3 done, 1 failed" in html
    assert f"${dataset.totals().spent_usd:.2f}" in html
    assert "1 filtered: refused: " in html
    assert html.count(IMAGE) == 3


def test_an_image_that_is_gone_or_damaged_leaves_its_caption(tmp_path: Path) -> None:
    dataset = made(tmp_path)
    first, second, _ = [path for result in dataset.results() for path in result.paths]
    first.unlink()
    second.write_bytes(b"no image")

    html = dataset._repr_html_()

    assert (html.count(IMAGE), html.count("<figcaption")) == (1, 3)


def test_a_dataset_that_is_none_says_so_and_raises_nothing(tmp_path: Path) -> None:
    """
    Not made yet, without rows, or taken away after its run.
    """
    summary = summary_of(dataset := made(tmp_path))
    shutil.rmtree(dataset.path)

    assert "is no dataset" in dataset._repr_html_()
    assert "is no dataset" in summary_html(Folder(dataset.path), summary)
    with made_dataset(tmp_path / "empty", []):
        pass
    assert IMAGE not in Dataset(tmp_path / "empty")._repr_html_()


def test_a_strip_has_the_latest_images_of_its_run(tmp_path: Path) -> None:
    """
    A dozen of however many, newest first; none of another run.
    """
    dataset = made(tmp_path, jobs=20)
    with Folder(dataset.path).reader() as db:
        pictures = latest_pictures(db, 12, "run-1")

        assert [prompt.rpartition(" ")[2] for _, prompt in pictures][:2] == ["20", "19"]
        assert pictures == latest_pictures(db, 12)
        assert latest_pictures(db, 12, "run-2") == []
    assert summary_html(Folder(dataset.path), summary_of(dataset)).count(IMAGE) == 12


def test_a_plan_goes_through_pickle_with_its_look(tmp_path: Path) -> None:
    """
    As work that is shared among processes does; without a view it is text.
    """
    manifest = tmp_path / "m.csv"
    manifest.write_text("prompt,control_image\na cup,https://photos.invalid/a.png\n")
    plan = made(tmp_path).plan(manifest)

    assert pickle.loads(pickle.dumps(plan))._repr_html_() == plan._repr_html_() is not None
    assert summary_of(Dataset(tmp_path / "d"))._repr_html_() is None
