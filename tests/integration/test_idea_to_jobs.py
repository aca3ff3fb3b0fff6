"""The way from an idea to jobs: sweeps, templates and formats, to the exact count."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.support.commands import KEY, Ended, fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_SWEEP: dict[str, Any] = {
    "model": "flux-depth-dev",
    "defaults": {"prompt": "a {{ style }} cat", "output_format": "jpg"},
    "sweep": {
        "axes": {
            "control_image": "photos/*.png",
            "style": ["oil", "ink", "clay", "pixel"],
            "guidance": [1, 5, 10, 20, 40],
            "seed": {"count": 2},
        },
        "exclude": [{"style": "clay", "guidance": 40}, {"style": "ink", "seed": 1}],
    },
}
_CELLS = 3 * 4 * 5 * 2 - 3 * 2 - 3 * 5


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process("--speed", "10", "--image-size", "64") as running:
        yield running


@pytest.fixture
def emulator(provider: EmulatorProcess) -> EmulatorProcess:
    provider.reset()
    return provider


def idea(folder: Path, **changes: Any) -> Path:
    """A config and its photos; relative, as a user would write them."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (16, 16), colour).save(folder / "photos" / f"{number}.png")
    path = folder / "idea.yaml"
    path.write_text(yaml.safe_dump({**_SWEEP, **changes}))
    return path


def run(path: Path, out: Path, emulator: EmulatorProcess, *words: object) -> Ended:
    where = ("--out", out, "--base-url", emulator.base_url)
    minute = {"FLUXBATCH_LIMITS__WINDOW": "6"}  # the emulator's, at its speed
    return fluxbatch("run", path, *where, "--json", *words, env=minute)


def rows(out: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Every job's id, and its cell."""
    query = "SELECT j.id, r.axes_json FROM rows r JOIN jobs j ON j.seq = r.job_seq"
    with sqlite3.connect(out / "ledger.sqlite") as db:
        found = db.execute(query + " ORDER BY r.number").fetchall()
    return [(bytes(job), json.loads(axes)) for job, axes in found]


def test_a_sweep_is_planned_and_made_to_the_exact_count(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """3 x 4 x 5 x 2 but for what is excluded; a value more costs its own cells alone."""
    path = idea(tmp_path)
    planned = fluxbatch("plan", path, "--json").object
    made = run(path, tmp_path / "d", emulator)

    assert planned["jobs"]["new"] == _CELLS
    assert (made.code, made.object["jobs"]["done"]) == (0, _CELLS)
    assert emulator.stats()["billed"] == _CELLS

    more = {**_SWEEP["sweep"], "axes": {**_SWEEP["sweep"]["axes"], "seed": {"count": 3}}}
    path = idea(tmp_path, sweep=more)
    planned = fluxbatch("plan", path, "--out", tmp_path / "d", "--json").object
    new = 3 * (4 * 5 - 1)
    assert (planned["jobs"]["new"], planned["jobs"]["done"]) == (new, _CELLS)
    assert run(path, tmp_path / "d", emulator).code == 0
    assert emulator.stats()["billed"] == _CELLS + new


def test_the_ledger_keeps_the_cell_of_every_job(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """Variables too, and files as the config calls them."""
    run(idea(tmp_path), tmp_path / "d", emulator, "--limit", 1)
    cells = [cell for _, cell in rows(tmp_path / "d")]
    bought = emulator.predictions()[0]["input"]  # whichever photo was uploaded first

    expected = {"control_image": "photos/0.png", "style": "oil", "guidance": 1, "seed": 0}
    assert cells[0] == expected
    told = {name: bought[name] for name in ("guidance", "seed")}
    styles = {cell["style"] for cell in cells if told.items() <= cell.items()}
    assert bought["prompt"] in {f"a {style} cat" for style in styles}


def test_the_same_config_elsewhere_gives_the_same_jobs(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Relative files begin at the config, wherever the command is given; images go by content."""
    here, there = idea(tmp_path / "here"), idea(tmp_path / "there" / "deep")
    (tmp_path / "here" / "photos" / "0.png").touch()
    run(here, tmp_path / "a", emulator, "--limit", 1)
    words = ("--base-url", emulator.base_url, "--limit", 1)
    fluxbatch("run", there.name, "--out", tmp_path / "b", *words, cwd=there.parent)

    assert len(rows(tmp_path / "a")) == _CELLS
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_a_moved_dataset_and_config_pay_for_nothing_again(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """All that was done stays done."""
    small = {"axes": {"control_image": "photos/*.png", "style": ["oil"]}}
    run(idea(tmp_path / "old", sweep=small), tmp_path / "old" / "d", emulator)
    shutil.move(tmp_path / "old", tmp_path / "new")
    again = run(tmp_path / "new" / "idea.yaml", tmp_path / "new" / "d", emulator)

    assert (again.code, again.object["cost_usd"]["run"]) == (0, "0.00")
    assert emulator.stats()["billed"] == 3


def test_a_billion_cells_are_counted_at_once_and_not_run(tmp_path: Path) -> None:
    """Named with their price; only --yes makes so many."""
    axes = {"seed": {"count": 10**7}, "guidance": {"range": [1, 100]}, "style": ["oil"]}
    path = idea(tmp_path, sweep={"axes": axes}, defaults={
        "prompt": "a {{ style }} cat", "control_image": "photos/0.png"})  # fmt: skip
    began = time.monotonic()
    planned = fluxbatch("plan", path, "--json").object
    refused = fluxbatch("run", path, "--out", tmp_path / "d", "--base-url", "http://127.0.0.1:9/v1")

    assert time.monotonic() - began < 30
    assert planned["jobs"]["total"] == 10**9
    assert planned["cost_usd"] == "25000000.00"
    assert refused.code == 2
    assert "1,000,000,000 jobs for $25000000.00" in refused.err
    assert "--yes" in refused.err
    assert not (tmp_path / "d" / "images").exists()


def test_rows_come_from_stdin(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """Kept in the dataset, so that the same rows go on where they were."""
    idea(tmp_path)
    csv = "prompt,control_image\na cat,photos/0.png\na dog,photos/1.png\n"
    words = [sys.executable, "-m", "fluxbatch"]
    run_words = ["run", "-", "--out", "d", "--base-url", emulator.base_url, "--json"]
    env = {"EACHLABS_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = [
        subprocess.run(
            words + more,
            input=csv,
            text=True,
            capture_output=True,
            cwd=tmp_path,
            check=True,
            env=env,
        )
        for more in (["plan", "-", "--json"], run_words, run_words)
    ]
    planned, first, again = (json.loads(one.stdout.splitlines()[-1]) for one in ended)

    assert planned["jobs"]["new"] == 2
    assert first["jobs"]["done"] == again["jobs"]["done"] == emulator.stats()["billed"] == 2
    assert again["cost_usd"]["run"] == "0.00"
    assert len(list((tmp_path / "d" / "manifests").iterdir())) == 1


def test_a_yaml_list_and_a_folder_of_photos_are_sources_too(tmp_path: Path) -> None:
    """Told from a config by what is in it."""
    idea(tmp_path)
    listed = tmp_path / "rows.yaml"
    listed.write_text("- prompt: a cat\n  control_image: photos/0.png\n")
    for name in "012":
        (tmp_path / "photos" / f"{name}.txt").write_text("a cat")

    assert fluxbatch("plan", listed, "--json").object["jobs"]["new"] == 1
    assert fluxbatch("plan", tmp_path / "photos", "--json").object["jobs"]["new"] == 3
