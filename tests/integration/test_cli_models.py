"""`models` and `uploads prune` as users meet them, and a run of a model by a config alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.commands import KEY, fluxbatch
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof

_PHOTO = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos" / "coffee.webp"
_NO_KEY = {"EACHLABS_API_KEY": ""}


def config(folder: Path, **settings: object) -> Path:
    path = folder / "batch.yaml"
    path.write_text(json.dumps(settings))  # which is YAML as well
    return path


def test_a_typed_model_is_shown_without_a_provider() -> None:
    """
    Every input on its line, with the price; the list names it.
    """
    shown = fluxbatch("models", "flux-depth-dev", env=_NO_KEY)
    listed = fluxbatch("models", env=_NO_KEY)

    assert (shown.code, listed.code) == (0, 0)
    lines = shown.out.splitlines()
    assert lines[1] == "$0.025 an execution"
    assert lines[3].split() == ["input", "type", "required", "default", "range", "description"]
    assert [line.split()[:3] for line in lines[4:6]] == [
        ["prompt", "string", "yes"],
        ["control_image", "file", "yes"],
    ]
    assert "from 1 to 4" in lines[6]
    assert len(lines) == 14
    assert "flux-depth-dev" in listed.out


def test_another_model_is_asked_of_the_provider_without_a_key(emulator: EmulatorProcess) -> None:
    """
    As a table, and as an object with nothing shortened.
    """
    words = ("models", "flux-mosaic", "--base-url", emulator.base_url)
    shown = fluxbatch(*words, env=_NO_KEY)
    told = fluxbatch(*words, "--json", env=_NO_KEY).object

    assert shown.code == 0
    assert "$0.0125 an execution by the provider's page" in shown.out
    row = next(line for line in shown.out.splitlines() if line.startswith("palette"))
    assert "at most 4 items: one of 'red', 'green" in row
    assert (told["slug"], told["price_usd"], told["told_price_usd"]) == (
        "flux-mosaic", None, "0.0125",
    )  # fmt: skip
    assert {one["name"]: one["type"] for one in told["inputs"]} == {
        "prompt": "string",
        "input_image": "file",
        "image_size": "any",
        "palette": "array",
        "strength": "number",
        "num_images": "integer",
        "seed": "integer",
        "output_format": "string",
    }


def test_a_model_nobody_knows_or_can_ask_about_is_said_in_words(emulator: EmulatorProcess) -> None:
    """
    Exit 2 for one there is not, exit 1 where nobody answers.
    """
    unknown = fluxbatch("models", "flux-mosiac", "--base-url", emulator.base_url, "--json")
    nobody = fluxbatch("models", "flux-mosaic", "--base-url", "http://127.0.0.1:9/v1", "--json")

    assert (unknown.code, nobody.code) == (2, 1)
    assert "knows no model 'flux-mosiac'" in unknown.object["error"]
    assert "is not known here yet, and the provider cannot be asked" in nobody.object["error"]


def test_a_config_names_a_model_and_runs_it(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Plan, run, and plan again without a key or a provider: the dataset knows the model.
    """
    (tmp_path / "m.csv").write_text("prompt,guidance\na cat,7.50\na dog,10\n")
    settings = config(
        tmp_path, model="flux-dev-t2i", manifest="m.csv", price=0.02, budget={"per_run": 1}
    )
    where = ("--base-url", emulator.base_url)
    planned = fluxbatch("plan", settings, *where, "--json", env=_NO_KEY)
    ran = fluxbatch("run", settings, "--out", tmp_path / "d", *where, "--json")
    nowhere = ("--base-url", "http://127.0.0.1:9/v1")
    again = fluxbatch("plan", settings, "--out", tmp_path / "d", *nowhere, "--json", env=_NO_KEY)
    without = fluxbatch("plan", settings, *nowhere, "--json", env=_NO_KEY)

    assert (planned.code, ran.code, again.code, without.code) == (0, 0, 0, 1)
    assert planned.object["cost_usd"] == ran.object["cost_usd"]["run"] == "0.04"
    assert again.object["jobs"]["done"] == 2
    assert sorted(one["input"]["guidance"] for one in emulator.predictions()) == [7.5, 10]
    known = fluxbatch("models", "--out", tmp_path / "d", "--json").object["models"]
    assert [one["slug"] for one in known] == ["flux-depth-dev", "flux-dev-t2i"]


def test_uploads_are_pruned_once_somebody_has_said_yes(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Without a terminal and without --yes nothing is deleted, and what would be is said.
    """
    shutil.copy(_PHOTO, tmp_path / "coffee.webp")
    (tmp_path / "m.csv").write_text("prompt,control_image\na cat,coffee.webp\n")
    out = tmp_path / "d"
    fluxbatch("run", tmp_path / "m.csv", "--out", out, "--base-url", emulator.base_url)
    asked = fluxbatch("uploads", "prune", out, "--json")
    assert asked.code == 2
    assert "1 upload (29.2 kB) would be deleted" in asked.object["error"]
    assert emulator.stats()["deletes"] == 0

    pruned = fluxbatch("uploads", "prune", out, "--yes", "--json")
    nothing = fluxbatch("uploads", "prune", out)
    assert (pruned.code, nothing.code) == (0, 0)
    assert pruned.object["uploads"] == {
        "deleted": 1, "deleted_bytes": 29_240, "kept": 0, "left": 0,
    }  # fmt: skip
    assert emulator.stats()["deletes"] == 1
    assert nothing.out.splitlines()[0] == "deleted   0 uploads, 0 B"
    for ended in (asked, pruned, nothing):
        assert KEY not in ended.out + ended.err
