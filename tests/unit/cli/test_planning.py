"""The plan: counts, price, time and what binds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluxbatch.config import Limits, load_settings
from fluxbatch.dataset import Folder
from fluxbatch.ledger.database import SqliteDatabase
from fluxbatch.ledger.manifests import BeginImport, FinishImport, ImportRows
from fluxbatch.ledger.writer import commit
from fluxbatch.manifest import Manifest, Shape
from fluxbatch.models import find_card
from fluxbatch.planning import Plan, plan, wall_clock
from fluxbatch.seams import SystemClock

_PHOTO = "https://photos.invalid/cat.png"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps({"control_image": _PHOTO, **row}) + "\n" for row in rows))
    return path


def planned(path: Path, out: Path | None = None, *, accounts: int = 1, **settings: object) -> Plan:
    folder = Folder(out) if out is not None else None
    return plan(load_settings(None, settings, {}), path, folder, accounts=accounts)


def remember(out: Path, path: Path, *states: str) -> None:
    """Put *path* into the ledger of *out* as a run would, its jobs in *states*."""
    Folder(out).make()
    db = SqliteDatabase(Folder(out).ledger)
    at = SystemClock().now()
    manifest = Manifest.open(path, card=find_card("flux-depth-dev"))
    begun = BeginImport(at, manifest.identity, str(path), 1, "flux-depth-dev", "{}")
    seq = commit(db, begun).seq
    rows = list(manifest.rows())
    commit(db, ImportRows(at, seq, rows))
    commit(db, FinishImport(at, seq, len(rows), 0))
    for row, state in zip(rows, states, strict=True):
        assert row.job is not None
        db._connection.execute(
            "UPDATE jobs SET state = ? WHERE id = ?", (state, bytes(row.job.job_id))
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
    manifest = Manifest.open(path, card=find_card("flux-depth-dev"), shape=Shape.of(settings))
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
    }
