"""`fluxbatch costs` as a process, on datasets that runs against the emulator have made."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.test_cli_run import PHOTOS
from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process

CONFIG = f"""\
defaults: {{control_image: "{PHOTOS / "rocket.jpg"}"}}
sweep:
  axes:
    prompt: [a lighthouse, a harbour]
    guidance: [5, 30]
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def run_sweep(emulator: EmulatorProcess, folder: Path, *more: object) -> Path:
    """Two prompts, two strengths: four images for ten cents."""
    folder.mkdir(exist_ok=True)
    config = folder / "sweep.yaml"
    config.write_text(CONFIG)
    words = ("run", config, "--out", folder / "d", "--base-url", emulator.base_url, "--json")
    ended = fluxbatch(*words, *more)
    assert ended.code in (0, 4), ended.err
    return folder / "d"


def change_ledger(dataset: Path, statement: str) -> None:
    with closing(sqlite3.connect(dataset / "ledger.sqlite")) as ledger:
        ledger.execute(statement)
        ledger.commit()


def runs_of(dataset: Path) -> list[str]:
    """In the order in which they began: names of one second have none."""
    with closing(sqlite3.connect(dataset / "ledger.sqlite")) as ledger:
        return [name for (name,) in ledger.execute("SELECT id FROM runs ORDER BY seq")]


@pytest.fixture(scope="module")
def dataset(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_sweep(emulator, tmp_path_factory.mktemp("costs"))


def test_the_table_has_a_line_a_group_and_the_total(dataset: Path) -> None:
    """
    An axis by its values; nothing but the table on stdout.
    """
    ended = fluxbatch("costs", dataset, "--by", "axis:guidance")

    assert (ended.code, ended.err) == (0, "")
    assert [line.split("  ") for line in ended.out.splitlines()] == [
        ["guidance", "creates", "images", "spent", "at risk", "on failures", "an image"],
        *(line.split("  ") for line in ended.out.splitlines()[1:]),
    ]
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["5", "2", "2", "$0.05", "$0.00", "$0.00", "$0.025"],
        ["30", "2", "2", "$0.05", "$0.00", "$0.00", "$0.025"],
        ["total", "4", "4", "$0.10", "$0.00", "$0.00", "$0.025"],
    ]


def test_several_datasets_are_added_and_one_named_twice_counts_once(
    dataset: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The same folder by another name is told.
    """
    other = run_sweep(emulator, tmp_path)
    again = tmp_path / "link"
    again.symlink_to(dataset)

    ended = fluxbatch("costs", dataset, other, again, "--by", "model", "--json")

    assert ended.code == 0
    line = {"creates": 8, "images": 8, "spent_usd": "0.20", "at_risk_usd": "0.00",
            "on_failures_usd": "0.00", "image_usd": "0.025"}  # fmt: skip
    assert ended.object == {
        "by": "model",
        "datasets": [str(dataset), str(other)],
        "groups": [{"value": "flux-depth-dev", **line}],
        "total": line,
        "price_changes": [],
    }
    assert f"{str(again)!r} is the same dataset once more" in ended.err


def test_csv_is_read_back_by_column_names(dataset: Path) -> None:
    """
    A day of the budget a line, without a total.
    """
    ended = fluxbatch("costs", dataset, "--csv")

    (line,) = csv.DictReader(ended.out.splitlines())
    assert line.pop("day")[:2] == "20"
    assert line == {"creates": "4", "images": "4", "spent_usd": "0.10", "at_risk_usd": "0.00",
                    "on_failures_usd": "0.00", "image_usd": "0.025"}  # fmt: skip


def test_a_price_that_changed_between_two_runs_is_noted(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The figures are the ledger's own: the first run is made to have cost less.
    """
    dataset = run_sweep(emulator, tmp_path, "--limit", "2")
    change_ledger(dataset, "UPDATE runs SET ended_at = started_at")
    run_sweep(emulator, tmp_path)
    change_ledger(dataset, "UPDATE predictions SET cost = 20000 WHERE run_seq = 1")

    ended = fluxbatch("costs", dataset, "--by", "run", "--json")

    first, second = runs_of(dataset)
    assert {group["value"] for group in ended.object["groups"]} == {first, second}
    (change,) = ended.object["price_changes"]
    assert (change["before_run"], change["now_run"]) == (first, second)
    assert (change["before_usd"], change["now_usd"]) == ("0.02", "0.025")
    assert (
        f"note: flux-depth-dev: an execution cost $0.025 in the run {second}; in the run before,"
        f" {first}, it was $0.02" in ended.err
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--by", "week"), "there are day, run, model, key and axis:NAME"),
        (("--by", "axis:"), "there are day, run, model, key and axis:NAME"),
        (("--by", "axis:colour"), "there are guidance, prompt"),
        (("--csv", "--json"), "ask for one"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_can(
    dataset: Path, words: tuple[str, ...], told: str
) -> None:
    """
    Exit 2.
    """
    ended = fluxbatch("costs", dataset, *words)

    assert ended.code == 2
    assert told in ended.err


def test_a_folder_without_a_ledger_is_named(tmp_path: Path) -> None:
    """
    As by every verb.
    """
    ended = fluxbatch("costs", tmp_path, "--json")

    assert ended.code == json.loads(ended.out)["exit"] == 2
    assert "is no dataset" in ended.err
