"""The package that the guide makes: built, installed into a venv, and used there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.venv import ROOT, Venv, install_plugin, made_venv, write_package
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

GUIDE = ROOT / "docs" / "guide" / "plugins.md"
PHOTO = ROOT / "fluxbatch" / "demo" / "photos" / "rocket.jpg"


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(GUIDE, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Venv:
    """A venv with fluxbatch and the guide's package."""
    made = made_venv(tmp_path_factory.mktemp("venv") / "v")
    install_plugin(made, package)
    return made


def write_batch(folder: Path) -> Path:
    """A config of three prompts in the plugin's own format."""
    (folder / "prompts.lines").write_text("a lamp\na chair\n\na table\n")
    config = folder / "shop.yaml"
    config.write_text(
        f"manifest: prompts.lines\ndefaults: {{control_image: {json.dumps(str(PHOTO))}}}\n"
    )
    return config


def asking(emulator: EmulatorProcess) -> dict[str, str]:
    return {"EACHLABS_BASE_URL": emulator.base_url}


def test_its_source_hook_and_export_all_work(
    shop: Venv, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Three lines become three jobs, the hook has seen each image, and the export has a line each.
    """
    config = write_batch(tmp_path)
    ran = shop.run("fluxbatch", "run", config, "-o", "d", cwd=tmp_path, env=asking(emulator))
    exported = shop.run("fluxbatch", "export", "d", "-f", "pairs", "--json", cwd=tmp_path)

    assert ran.returncode == 0, ran.stderr
    seen = (tmp_path / "d" / "colours.csv").read_text().splitlines()
    assert len(seen) == 3
    assert all(re.fullmatch(r"images/\S+\.webp,\d+,#[0-9a-f]{6}", line) for line in seen)
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["rows"] == 3
    pairs = (tmp_path / "d" / "exports" / "pairs" / "train-000000.pairs").read_text()
    told = [line.split("\t") for line in pairs.splitlines()]
    assert [json.loads(prompt) for _, prompt in told] == ["a lamp", "a chair", "a table"]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest, _ in told)


def test_off_there_is_no_plugin(shop: Venv, emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Neither the source nor the export is known, and both say what there is.
    """
    config = write_batch(tmp_path)
    off = {**asking(emulator), "FLUXBATCH_PLUGINS": "off"}
    ran = shop.run("fluxbatch", "run", config, "-o", "d", cwd=tmp_path, env=off)

    assert ran.returncode == 2
    assert "prompts.lines' is no CSV (.csv)" in ran.stderr
    named = shop.run(
        "fluxbatch", "plan", "prompts.lines", "--format", "lines", cwd=tmp_path, env=off
    )
    assert named.returncode == 2
    assert "format: must be 'csv', 'tsv', 'jsonl'" in named.stderr


def test_a_switch_that_is_neither_is_refused(shop: Venv, tmp_path: Path) -> None:
    (tmp_path / "prompts.lines").write_text("a lamp\n")
    ended = shop.run(
        "fluxbatch", "plan", "prompts.lines", cwd=tmp_path, env={"FLUXBATCH_PLUGINS": "of"}
    )

    assert ended.returncode == 2
    assert "FLUXBATCH_PLUGINS is 'of'; write on or off" in ended.stderr


def test_the_emulator_is_a_fixture(shop: Venv, package: Path) -> None:
    """
    The guide's own test, by the venv's pytest: the entry point alone brings the fixture.
    """
    ended = shop.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py", cwd=package
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
