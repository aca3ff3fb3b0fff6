"""The grid of the live page, asked over HTTP: which cells there are, and what each says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, JobState, Row
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.operations.rerolls import AddRerolls, RerollPick
from fluxbatch.ledger.queries.grid_jobs import GridJob, GridRow
from fluxbatch.live.grid_axes import GridAxes
from fluxbatch.live.grid_view import GridChoice, GridView
from fluxbatch.live.live_grid import GridQuestion, LiveGrid
from tests.ledger.support import MODEL, PRICE
from tests.report.datasets import Bulk, making, row, small_images
from tests.report.live_server import serving
from tests.report.test_live_server import SCRIPT, ask

STYLES = ("ink", "oil", SCRIPT)
GUIDANCE = (10, 2.5)
STEPS = (20, 28)
WHOLE = {"wide": "40", "high": "40"}


def swept_rows() -> list[Row]:
    """Three styles by two guidances by two steps, in this order."""
    found = []
    for number, (style, guidance, steps) in enumerate(product(STYLES, GUIDANCE, STEPS), 1):
        given = {"prompt": f"a cat in {style}", "guidance": guidance, "num_inference_steps": steps}
        axes = {"style": style, "guidance": guidance, "steps": steps}
        found.append(row(number, given, axes=axes))
    return found


def swept(root: Path) -> Folder:
    """Of the first style all four are done, of the second one failed and one runs, and of the
    third nothing has begun."""
    pictures = small_images(root.parent / "pictures")
    with making(root) as made:
        made.begin(swept_rows())
        for number in range(1, 5):
            made.image(number, *pictures[number])
        made.fail(5, FailureClass.FILTERED, "NSFW content detected in the output")
        made.books.run_one(6)
    return made.folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return swept(tmp_path / "ds")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = swept(tmp_path_factory.mktemp("served") / "ds")
    with serving(folder.root) as url:
        yield url


def asked(address: str, **words: str) -> dict[str, Any]:
    status, text, _ = ask(address, f"/api/grid?{urlencode({**WHOLE, **words})}")
    assert status == 200, text
    told: dict[str, Any] = json.loads(text)
    return told


def said(told: dict[str, Any]) -> dict[tuple[int, int], str]:
    return {(cell["line"], cell["column"]): cell["words"] for cell in told["cells"]}


def test_every_cell_says_where_its_jobs_stand_and_what_they_cost(address: str) -> None:
    """
    What is missing has its price, what is on its way what it holds, what failed what it cost.
    """
    told = asked(address, across="guidance", down="style", **{"is.steps": "20"})

    assert [keys[1] for keys in told["heads"]] == ["2.5", "10"]
    assert [keys[1] for keys in told["sides"]] == list(STYLES)
    assert said(told) == {
        (0, 0): "done, $0.025 spent",
        (0, 1): "done, $0.025 spent",
        (1, 0): "waiting, up to $0.025 to pay",
        (1, 1): "failed (filtered), $0.025 spent",
        (2, 0): "waiting, up to $0.025 to pay",
        (2, 1): "waiting, up to $0.025 to pay",
    }
    images = {(cell["line"], cell["column"]): cell["image"] for cell in told["cells"]}
    assert (images[0, 0], images[0, 1], images[1, 0]) == (3, 1, 0)
    assert told["words"] == (
        "2 done, 1 failed (filtered), 3 waiting, up to $0.075 to pay, $0.075 spent"
    )


def test_four_axes_stand_as_facets_in_the_order_of_their_values(address: str) -> None:
    """
    Numbers by size, anything else as the rows have it; an axis that is not chosen is added up.
    """
    told = asked(address, across="guidance", down="style", facets_across="steps")
    both = asked(address, across="guidance", down="steps", facets_down="style")

    assert told["heads"] == [["20", "2.5"], ["20", "10"], ["28", "2.5"], ["28", "10"]]
    assert said(told)[1, 3] == "running, $0.025 reserved"
    assert both["sides"] == [[style, steps] for style in STYLES for steps in ("20", "28")]
    added_up = asked(address, across="style", down="")
    assert said(added_up) == {
        (0, 0): "4 done, $0.10 spent",
        (0, 1): "1 failed (filtered), 1 running, 2 waiting, up to $0.05 to pay,"
        " $0.025 reserved, $0.025 spent",
        (0, 2): "4 waiting, up to $0.10 to pay",
    }
    assert [cell["images"] for cell in added_up["cells"]] == [4, 0, 0]


def test_without_a_choice_the_longest_axes_are_taken(address: str) -> None:
    """
    And an axis that there is not, or that is named twice, is none.
    """
    told = asked(address)
    odd = asked(address, across="style", down="style", facets_down="nothing", **{"is.style": "ink"})

    assert (told["choice"]["down"], told["choice"]["across"]) == ("style", "guidance")
    assert [(axis["name"], axis["count"]) for axis in told["axes"]] == [
        ("style", 3), ("guidance", 2), ("steps", 2)
    ]  # fmt: skip
    assert odd["choice"] == {
        "across": "style", "down": "", "facets_across": "", "facets_down": "", "fixed": {}
    }  # fmt: skip
    assert "axes" not in asked(address, known=str(odd["version"]))


def test_only_the_part_in_sight_is_answered(address: str) -> None:
    """
    With how large the whole is; a part as large as no screen is refused.
    """
    told = asked(address, across="steps", down="style", left="1", top="1", wide="1", high="9")

    assert (told["columns"], told["lines"]) == (2, 3)
    assert list(said(told)) == [(1, 1), (2, 1)]
    assert (told["heads"], len(told["sides"])) == ([[None, "28"]], 2)
    for words in ("wide=99999&high=99999", "wide=-1", "left=%D9%A1", "across=" + "x" * 3000):
        assert ask(address, f"/api/grid?{words}")[0] == 400


def test_the_grid_fills_as_the_ledger_grows(folder: Folder) -> None:
    """
    Only jobs with new lines of history are read anew; cells and totals are as if all were.
    """
    question = GridQuestion(GridChoice(across="guidance", down="style"), 0, 0, 9, 9)
    grid = LiveGrid()
    with folder.reader() as db, closing(SqliteDatabase(folder.ledger)) as written:
        books = Bulk(written)
        books.manifest_seq = 1
        written.begin()
        books.open_run("20261122-100000-cd34")
        written.commit()
        before = grid.answer(db, question)
        written.begin()
        output = books.generate(7).outputs[0].output_seq
        books.do(StoreOutput(books.now(), output, "images/7.png", "7" * 64, 9, "image/png", 8, 8))
        written.commit()
        after = grid.answer(db, question)

        assert said(before)[1, 0] == "2 waiting, up to $0.05 to pay"
        assert said(after)[1, 0] == "1 done, 1 waiting, up to $0.025 to pay, $0.025 spent"
        assert after["version"] == before["version"]
        fresh = LiveGrid().answer(db, question)
        assert {**fresh, "version": 0} == {**after, "version": 0, "axes": fresh["axes"]}


def test_a_reroll_is_in_the_cell_of_its_row(folder: Folder) -> None:
    """
    As one more job, that waits until `reroll` makes it.
    """
    first = swept_rows()[0]
    assert first.job is not None
    with closing(SqliteDatabase(folder.ledger)) as written:
        written.begin()
        books = Bulk(written)
        books.do(AddRerolls(books.now(), MODEL, 1, [RerollPick(first.job.job_id, 1, 0)]))
        written.commit()
    with folder.reader() as db:
        choice = GridChoice(across="guidance", down="style", fixed=(("steps", "20"),))
        told = LiveGrid().answer(db, GridQuestion(choice, 0, 0, 9, 9))

    assert said(told)[0, 1] == "1 done, 1 waiting, up to $0.025 to pay, $0.025 spent"


def test_cells_beyond_what_can_be_scrolled_are_counted() -> None:
    """
    They are left out, and how many there are is said.
    """
    rows = [GridRow(n, n, json.dumps({"seed": n, "style": n % 2})) for n in range(1, 11)]
    view = GridView(GridAxes(rows, ()), GridChoice(across="style", down="seed"), {}, 4)

    assert (len(view.columns), len(view.lines), view.left_out) == (2, 4, 6)


def test_a_cell_follows_its_jobs_also_where_an_image_is_lost() -> None:
    """
    `repair` sends one back; the newest of the others stands for the cell then.
    """
    axes = GridAxes([GridRow(n, n, '{"style": "ink"}') for n in (1, 2)], ())
    jobs = {n: _done(n, newest=10 * n) for n in (1, 2)}
    view = GridView(axes, GridChoice(down="style"), jobs, 9)
    (before,) = view.cells([0], [0])
    lost = jobs[2]._replace(state=JobState.GENERATED, images=0, newest=0)
    was, jobs[2] = jobs[2], lost
    view.change(was, lost)
    (after,) = view.cells([0], [0])

    assert (before.tally.newest, before.tally.images) == (20, 2)
    assert (after.tally.newest, after.tally.images) == (10, 1)
    assert after.tally.words(None) == view.total.words(None) == "1 done, 1 running, $0.05 spent"


def _done(seq: int, newest: int) -> GridJob:
    return GridJob(seq, JobState.DONE, None, False, PRICE, Micros(0), PRICE, 1, newest)


def test_a_dataset_without_a_sweep_has_no_axes(tmp_path: Path) -> None:
    """
    And one that never ran has none either.
    """
    with making(tmp_path / "ds") as made:
        made.begin([row(1, {"prompt": "a cat"})])
    with made.folder.reader() as db:
        told = LiveGrid().answer(db, GridQuestion(None, 0, 0, 9, 9))

    assert (told["axes"], told["cells"], told["words"]) == ([], [], "")
