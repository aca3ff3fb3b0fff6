"""The plan: counts, price, time and what binds it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from heapq import heapreplace
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from fluxbatch.config.loading import load_settings
from fluxbatch.config.settings import Limits
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.imported_manifest import names_other_files
from fluxbatch.domain.job import Input, Job, Row, Scalar, job_id
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine.manifest_import import LedgerHashes
from fluxbatch.infra.runtime import SystemClock, Timestamp
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.db.timestamps import parse_utc, utc_text
from fluxbatch.ledger.operations.manifest_import import BeginImport, FinishImport, ImportRows
from fluxbatch.ledger.writer import commit
from fluxbatch.manifest import Manifest, ManifestShape
from fluxbatch.models import find_card
from fluxbatch.planning.estimate import wall_clock
from fluxbatch.planning.job_counter import JobCounter
from fluxbatch.planning.plan import Plan, make_plan
from tests.ledger.support import Books

_Seen = list[tuple[dict[str, Scalar], float]]

_PHOTO = "https://photos.invalid/cat.png"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps({"control_image": _PHOTO, **row}) + "\n" for row in rows))
    return path


def planned(path: Path, out: Path | None = None, *, accounts: int = 1, **settings: object) -> Plan:
    folder = Folder(out) if out is not None else None
    return make_plan(load_settings(None, settings, {}), path, folder, accounts=accounts)


def remember(out: Path, path: Path, *states: str) -> None:
    """Put *path* into the ledger of *out* as a run would, its jobs in *states*."""
    Folder(out).make()
    db = SqliteDatabase(Folder(out).ledger)
    at = SystemClock().now()
    hashes = LedgerHashes(db)
    manifest = Manifest.open(path, card=find_card("flux-depth-dev"), hashes=hashes)
    begun = BeginImport(at, manifest.identity, str(path), 1, "flux-depth-dev", "{}")
    seq = commit(db, begun).seq
    rows = list(manifest.rows())
    commit(db, hashes.taken())
    commit(db, ImportRows(at, seq, rows))
    commit(db, FinishImport(at, seq, len(rows), 0))
    for row, state in zip(rows, states, strict=True):
        assert row.job is not None
        db._connection.execute(
            "UPDATE jobs SET state = ? WHERE id = ?", (state, bytes(row.job.job_id))
        )
    db.close()


def bought(out: Path, seen: _Seen) -> None:
    """A dataset whose jobs, by what they gave beside a prompt, held their slots so many seconds."""
    Folder(out).make()
    db = SqliteDatabase(Folder(out).ledger)
    books = Books(db, checked=False)
    rows = []
    for number, (more, _) in enumerate(seen, 1):
        given: Input = {"prompt": f"{number}", **more}
        job = Job(job_id("flux-depth-dev", given), "flux-depth-dev", given)
        rows.append(Row(number, number, None, {}, job))
    books.manifest_seq = books.import_rows("m", rows)
    books.open_run("run-1")
    for number, (_, seconds) in enumerate(seen, 1):
        prediction = books.run_one(number)
        began = parse_utc(books.prediction(prediction)["intended_at"])
        books.move(prediction, PredictionEvent.SUCCEEDED, urls=("https://x.invalid/1.png",))
        ended = utc_text(Timestamp(began + timedelta(seconds=seconds), "", 0.0))
        db._connection.execute(
            "UPDATE predictions SET answered_at = intended_at, ended_at = ? WHERE seq = ?",
            (ended, prediction),
        )
    db.close()


@pytest.mark.parametrize(
    ("jobs", "accounts", "execution_s", "seconds", "binding"),
    [
        (0, 1, 10.0, 0.0, "none"),
        (5, 1, 10.0, 10.0, "none"),
        (200, 1, 10.0, 200.0, "slots"),
        (200, 1, 3.0, 90.0, "window"),
        (300, 1, 3.0, 150.0, "window"),
        (300, 2, 3.0, 75.0, "window"),
        (400, 2, 10.0, 200.0, "slots"),
    ],
)
def test_the_wall_clock_is_that_of_a_greedy_strict_window(
    jobs: int, accounts: int, execution_s: float, seconds: float, binding: str
) -> None:
    """
    The design's own figures: 200 three-second jobs take 90 s, 300 take 150 s.
    """
    assert wall_clock(jobs, Limits(), accounts, execution_s) == (seconds, binding)


@pytest.mark.parametrize("jobs", [1, 10, 37, 240, 300, 1_001])
@pytest.mark.parametrize("accounts", [1, 3])
@pytest.mark.parametrize("execution_s", [0.5, 3.0, 5.9, 6.1, 10.0, 45.0])
def test_the_wall_clock_is_within_a_tenth_of_a_run_simulated_job_by_job(
    jobs: int, accounts: int, execution_s: float
) -> None:
    """
    Ten slots and 100 creates in any 60 s, each job as soon as both allow, durations that differ.
    """
    seconds, _ = wall_clock(jobs, Limits(), accounts, execution_s)

    assert seconds == pytest.approx(_simulated_s(-(-jobs // accounts), execution_s), rel=0.1)


def _simulated_s(jobs: int, execution_s: float) -> float:
    random, slots, creates = Random(1), [0.0] * 10, list[float]()
    for number in range(jobs):
        window = creates[number - 100] + 60.0 if number >= 100 else 0.0
        creates.append(max(slots[0], window))
        heapreplace(slots, creates[-1] + execution_s * random.uniform(0.95, 1.05))
    return max(slots)


@pytest.mark.parametrize(
    ("seen", "rows", "each_s"),
    [
        ([], [{}], None),
        ([({}, 3.0)] * 4, [{}], None),
        ([({}, 3.0)] * 6, [{}], 3.0),
        ([({}, 3.0)] * 6 + [({}, 5.0)] * 6, [{}], 4.0),
        ([({}, 3.0)] * 9 + [({}, 9_000.0)], [{}], 3.0),
        ([({}, 3.0)] * 6 + [({"num_outputs": 4}, 9.0)] * 6, [{"num_outputs": 4}], 9.0),
        ([({}, 3.0)] * 6 + [({"num_outputs": 4}, 9.0)] * 6, [{}, {"num_outputs": 4}], 6.0),
        ([({}, 3.0)] * 6 + [({"num_outputs": 4}, 9.0)] * 6, [{"num_outputs": 2}], 6.0),
    ],
    ids=["nothing", "too little", "one", "a mean", "an outlier", "a kind", "a mixture", "unseen"],
)
def test_a_plan_takes_the_seconds_this_dataset_has_seen(
    tmp_path: Path, seen: _Seen, rows: list[dict[str, object]], each_s: float | None
) -> None:
    """
    Of each kind of job its own; too few say nothing, and one that a pause drew out moves nothing.
    """
    bought(tmp_path / "d", seen)
    path = write(tmp_path / "m.jsonl", [{"prompt": "new", **row} for row in rows])
    made = planned(path, tmp_path / "d")

    assert made.is_observed == (each_s is not None)
    assert made.execution_s == pytest.approx(each_s or 10.0)


def test_equal_rows_are_one_job_and_said(tmp_path: Path) -> None:
    """
    They cost once; `repeat` asks for more.
    """
    rows: list[dict[str, object]] = [{"prompt": "a"}, {"prompt": "a"}, {"prompt": "b", "repeat": 3}]
    made = planned(write(tmp_path / "m.jsonl", rows))

    assert (made.rows, made.duplicates, made.jobs.total, made.jobs.new) == (5, 1, 4, 4)
    assert made.cost == 100_000


def test_invalid_rows_are_all_counted_and_cost_nothing(tmp_path: Path) -> None:
    """
    One pass names every bad field of every row.
    """
    rows: list[dict[str, object]] = [{"prompt": "a"}, {"guidance": 200}, {"prompt": ""}]
    made = planned(write(tmp_path / "m.jsonl", rows))

    assert (made.jobs.total, made.jobs.new, made.jobs.invalid) == (3, 1, 2)
    assert [(bad.line, bad.field) for bad in made.bad_rows] == [
        (2, "prompt"), (2, "guidance"), (3, "prompt"),
    ]  # fmt: skip
    assert made.cost == 25_000


def test_a_dataset_that_is_not_there_has_nothing_done(tmp_path: Path) -> None:
    """
    And it is not made.
    """
    path = write(tmp_path / "m.jsonl", [{"prompt": "a"}])

    assert planned(path, tmp_path / "none").jobs.new == 1
    assert not (tmp_path / "none").exists()


def test_each_job_is_counted_once_by_what_the_dataset_knows(tmp_path: Path) -> None:
    """
    Done, failed, begun and waiting jobs, and only the waiting one costs.
    """
    states = ("done", "failed", "generated", "pending")
    path = write(tmp_path / "m.jsonl", [{"prompt": state} for state in states])
    remember(tmp_path / "d", path, *states)

    jobs = planned(path, tmp_path / "d").jobs
    assert (jobs.total, jobs.new, jobs.done, jobs.failed, jobs.begun) == (4, 1, 1, 1, 1)


def test_changed_means_the_same_id_names_another_job(tmp_path: Path) -> None:
    """
    By id where there is one, whatever the line; else by line.
    """
    before: list[dict[str, object]] = [{"id": n, "prompt": f"p{n}"} for n in "abc"]
    remember(tmp_path / "d", write(tmp_path / "m.jsonl", before), "done", "done", "done")
    after: list[dict[str, object]] = [{"id": "new", "prompt": "n"}, *before[:2]]
    after.append({"id": "c", "prompt": "another"})

    jobs = planned(write(tmp_path / "m.jsonl", after), tmp_path / "d").jobs
    assert (jobs.total, jobs.done, jobs.changed, jobs.new) == (4, 2, 1, 1)


_Edit = Callable[[list[dict[str, object]]], list[dict[str, object]]]
_EDITS: dict[str, tuple[_Edit, tuple[int, int, int]]] = {
    "nothing": (lambda rows: rows, (6, 0, 0)),
    "one more at the end": (lambda rows: [*rows, {"prompt": "z"}], (6, 0, 1)),
    "one more in front": (lambda rows: [{"prompt": "z"}, *rows], (6, 1, 0)),
    "the first edited": (lambda rows: [{"prompt": "z"}, *rows[1:]], (5, 1, 0)),
    "the last edited": (lambda rows: [*rows[:5], {"prompt": "z"}], (5, 1, 0)),
    "the third edited, with one more": (
        lambda rows: [*rows[:2], {"prompt": "y"}, *rows[3:], {"prompt": "z"}],
        (5, 1, 1),
    ),
    "the first left out": (lambda rows: rows[1:], (5, 0, 0)),
    "two in each other's place": (lambda rows: [rows[1], rows[0], *rows[2:]], (6, 0, 0)),
    "the first twice": (lambda rows: [rows[0], rows[0], *rows[1:]], (6, 0, 0)),
}


@pytest.mark.parametrize("edit", _EDITS)
def test_an_edited_manifest_is_compared_from_its_first_edit_on(tmp_path: Path, edit: str) -> None:
    """
    Rows without an id are known by their line: done, changed and new.
    """
    rows: list[dict[str, object]] = [{"prompt": f"p{n}"} for n in range(6)]
    remember(tmp_path / "d", write(tmp_path / "m.jsonl", rows), *["done"] * 6)
    change, expected = _EDITS[edit]

    jobs = planned(write(tmp_path / "m.jsonl", change(rows)), tmp_path / "d").jobs
    assert (jobs.done, jobs.changed, jobs.new) == expected


def test_a_manifest_that_is_known_is_planned_without_looking_up_each_job(tmp_path: Path) -> None:
    """
    A lookup of each of a million jobs took a third of the time.
    """
    rows: list[dict[str, object]] = [{"prompt": f"p{n}"} for n in range(50)]
    path = write(tmp_path / "m.jsonl", rows)
    remember(tmp_path / "d", path, *["done"] * 50)
    folder = Folder(tmp_path / "d")
    with folder.reader() as db:
        counted = JobCounter(load_settings(None, {}, {}), find_card("flux-depth-dev"), db, 1)
        asked = list[str]()
        assert isinstance(db, SqliteDatabase)
        db._connection.set_trace_callback(asked.append)
        for row in Manifest.open(path, card=find_card("flux-depth-dev")).rows():
            counted.add(row)
    assert counted.jobs().done == 50
    assert len(asked) < 5


def test_defaults_that_changed_change_every_job_they_touch(tmp_path: Path) -> None:
    """
    Before money moves, the plan says so.
    """
    path = write(tmp_path / "m.jsonl", [{"prompt": "a"}, {"prompt": "b", "guidance": 5}])
    remember(tmp_path / "d", path, "done", "done")

    jobs = planned(path, tmp_path / "d", defaults={"guidance": 7}).jobs
    assert (jobs.changed, jobs.done) == (1, 1)


def test_a_value_more_on_an_axis_adds_its_cells_and_changes_none(tmp_path: Path) -> None:
    """
    Cells are told apart by their values, not by their order.
    """
    path = write(tmp_path / "m.jsonl", [{"prompt": "a"}])
    settings = load_settings(None, {"sweep": {"axes": {"seed": [1, 2]}}}, {})
    Folder(tmp_path / "d").make()
    db = SqliteDatabase(Folder(tmp_path / "d").ledger)
    at = SystemClock().now()
    manifest = Manifest.open(
        path, card=find_card("flux-depth-dev"), shape=ManifestShape.of(settings)
    )
    seq = commit(db, BeginImport(at, manifest.identity, str(path), 1, "flux-depth-dev", "{}")).seq
    commit(db, ImportRows(at, seq, list(manifest.rows())))
    commit(db, FinishImport(at, seq, 2, 0))
    db.close()

    jobs = planned(path, tmp_path / "d", sweep={"axes": {"seed": [9, 1, 2]}}).jobs
    assert (jobs.total, jobs.new, jobs.changed) == (3, 3, 0)


def test_caps_are_checked_against_the_price(tmp_path: Path) -> None:
    """
    Each says how many jobs it pays for.
    """
    path = write(tmp_path / "m.jsonl", [{"prompt": str(n)} for n in range(6)])
    made = planned(path, budget={"per_run": "0.10", "per_dataset": "5"})

    assert [(check.scope, check.jobs) for check in made.budgets] == [("run", 4), ("dataset", 6)]


def test_the_first_rows_are_shown_as_they_would_be_sent(tmp_path: Path) -> None:
    """
    A local file stands as its upload, the derived seed is there, defaults of the model are not.
    """
    photo = Path(__file__).parents[3] / "fluxbatch" / "demo" / "photos" / "chelsea.png"
    path = write(tmp_path / "m.jsonl", [{"prompt": "a", "control_image": str(photo)}])
    made = planned(path)

    (row,) = made.first_rows
    assert str(row.input["control_image"]).startswith("upload:sha256:")
    assert isinstance(row.input["seed"], int)
    assert set(row.input) == {"prompt", "control_image", "seed"}
    assert (made.uploads, made.upload_bytes) == (1, photo.stat().st_size)
    assert "seed" not in planned(path, inputs={"seed": "provider"}).first_rows[0].input


def test_the_json_has_exactly_the_pinned_shape(tmp_path: Path) -> None:
    """
    Money as decimal strings.
    """
    made = planned(write(tmp_path / "m.jsonl", [{"prompt": "a"}]))

    assert made.as_json() == {
        "jobs": {"total": 1, "new": 1, "done": 0, "changed": 0, "invalid": 0},
        "cost_usd": "0.025",
        "seconds": 10.0,
        "binding_limit": "none",
        "notes": [],
    }


def test_a_manifest_seen_before_is_told_from_the_ledger_as_it_would_be_read(tmp_path: Path) -> None:
    """Every figure, the digest and the notes, whatever states its jobs are in."""
    control = tmp_path / "cat.png"
    Image.new("RGB", (16, 16)).save(control)
    os.utime(control, (1, 1))  # old enough that its hash is kept
    rows: list[dict[str, object]] = [
        {"id": "a", "prompt": "one", "meta": {"split": "no name!"}},
        {"id": "b", "prompt": "two", "seed": 7, "num_outputs": 2},
        {"id": "c", "prompt": "one"},
        {"id": "d", "prompt": "three", "control_image": "cat.png"},
        {"id": "e", "prompt": "four", "seed": 1},
        {"id": "f", "prompt": "four", "seed": 2},
    ]
    path = write(tmp_path / "m.jsonl", rows)
    out = tmp_path / "d"
    remember(out, path, *("done", "failed", "done", "pending", "pending", "pending"))
    told = planned(path, out)
    with closing(SqliteDatabase(Folder(out).ledger)) as db:
        assert not names_other_files(db, 1, str(path), path, Folder(out).controls)
        db._connection.execute("UPDATE manifests SET identity = 'another'")
    assert planned(path, out) == told
    assert (told.rows, told.duplicates, told.jobs.to_buy) == (6, 1, 3)
    assert told.split_notes


def test_a_manifest_whose_control_image_has_changed_is_read_again(tmp_path: Path) -> None:
    control = tmp_path / "cat.png"
    Image.new("RGB", (16, 16)).save(control)
    os.utime(control, (1, 1))  # old enough that its hash is kept
    path = write(tmp_path / "m.jsonl", [{"id": "a", "prompt": "x", "control_image": "cat.png"}])
    remember(tmp_path / "d", path, "done")
    Image.new("RGB", (16, 16), "red").save(control)
    assert planned(path, tmp_path / "d").jobs.changed == 1
