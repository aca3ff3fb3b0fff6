"""Every console block of the guide, run against the emulator and compared with its text.

The commands run in a venv with a wheel of this checkout, each page in a folder of its own; the
address that the guide gives the emulator is that of one on a free port.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from tests.guide.console import blocks_of, commands_in, differences, files_in, is_as_shown
from tests.plugins.venv import ROOT, Venv, made_venv
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.hub import TOKEN, Hub, hub_process
from tests.support.postgres_server import postgres_server

pytestmark = pytest.mark.proof

GUIDE = ROOT / "docs" / "guide"
PHOTOS = ROOT / "fluxbatch" / "demo" / "photos"
USUAL = "http://127.0.0.1:8089"
PAGES = sorted(page.name for page in GUIDE.glob("*.md") if "```console" in page.read_text())


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with hub_process() as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Where a PostgreSQL is that has the user and the database of the guide."""
    import psycopg

    with postgres_server() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE flux LOGIN")
            connection.execute("CREATE DATABASE pictures OWNER flux")
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """A venv whose `pip` is this interpreter's and fetches nothing."""
    made = made_venv(tmp_path_factory.mktemp("venv") / "v")
    pip = made.root / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{made.python}" "$@"\n')
    pip.chmod(0o755)
    return made


def surroundings(venv: Venv, emulator: EmulatorProcess, hub: Hub) -> dict[str, str]:
    """The environment of a reader who has the provider's address and a key set."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **hub.environment,
        "PATH": f"{venv.root / 'bin'}:{os.environ['PATH']}",
        "EACHLABS_API_KEY": "a-key-of-the-guide",
        "EACHLABS_BASE_URL": emulator.base_url,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_QUIET": "1",
        "PIP_FIND_LINKS": str(venv.root / "dist"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def a_checkout(folder: Path) -> None:
    """What `pip install .` needs, and a table of 30 rows."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "fluxbatch", folder / "fluxbatch")
    shutil.copy(PHOTOS / "rocket.jpg", folder)
    rows = "".join(f"a lighthouse {n},../rocket.jpg\n" for n in range(30))
    (folder / "work").mkdir()
    (folder / "work" / "thirty.csv").write_text(f"prompt,control_image\n{rows}")


def photos(folder: Path) -> None:
    """One photo, as the page of sweeps has it."""
    (folder / "photos").mkdir()
    with Image.open(PHOTOS / "rocket.jpg") as photo:
        photo.save(folder / "photos" / "rocket.png")


def a_shop(folder: Path) -> None:
    """A table of four rows with a column of shops."""
    photos(folder)
    shops = ("oslo", "oslo", "rome", "rome")
    rows = [f"lamp-{n},a lamp {n},photos/rocket.png,{shop}" for n, shop in enumerate(shops, 1)]
    (folder / "lamps.csv").write_text(
        "id,prompt,control_image,meta.shop\n" + "\n".join(rows) + "\n"
    )


def a_night(folder: Path) -> None:
    """A config as many machines have it, their images in a folder that all see."""
    a_shop(folder)
    (folder / "images").mkdir()
    (folder / "night.yaml").write_text(
        f"manifest: lamps.csv\nsink: {{store: 'file://{folder}/images'}}\n"
    )


MADE: Mapping[str, Callable[[Path], None]] = {
    "quickstart.md": a_checkout,
    "sweeps-and-templates.md": photos,
    "exports.md": a_shop,
    "hub.md": a_shop,
    "many-machines.md": a_night,
    "upkeep.md": a_shop,
}
"""What a page takes for granted."""


@pytest.mark.parametrize("name", PAGES)
def test_every_console_block_does_what_the_page_shows(
    installed: Venv, emulator: EmulatorProcess, hub: Hub, database: str, tmp_path: Path, name: str
) -> None:
    emulator.reset()
    text = (GUIDE / name).read_text()
    told = {
        USUAL: emulator.origin,
        "API_KEY=…": "API_KEY=k",
        "HF_TOKEN=hf_…": f"HF_TOKEN={TOKEN}",
        "https://huggingface.co": hub.origin,
        "PGPASSWORD=…": "PGPASSWORD=p",
        "db.example.com": database,
    }
    for shown, meant in told.items():
        text = text.replace(shown, meant)
    if name in MADE:
        MADE[name](tmp_path)
    for file, content in files_in(text).items():
        (tmp_path / file).write_text(content)
    env = surroundings(installed, emulator, hub)

    if differing := "\n".join(differences(commands_in(text), tmp_path, env)):
        pytest.fail(differing, pytrace=False)  # whole: an assertion would cut it short


def test_the_python_blocks_of_the_guide_run(
    installed: Venv, emulator: EmulatorProcess, hub: Hub, tmp_path: Path
) -> None:
    """
    One after the other, beside a manifest; each to its end, and what they make is there.
    """
    emulator.reset()
    a_shop(tmp_path)
    (tmp_path / "lamps.csv").rename(tmp_path / "manifest.csv")
    env = surroundings(installed, emulator, hub)
    blocks = blocks_of((GUIDE / "python.md").read_text(), "python")
    for block in blocks:
        ended = installed.run("python", "-c", block, cwd=tmp_path, env=env)
        assert ended.returncode == 0, block + ended.stderr

    assert len(blocks) == 3
    assert emulator.stats()["billed"] == 4


def test_a_block_that_shows_something_else_is_found(tmp_path: Path) -> None:
    """
    Another text, a line more, an exit code that nobody asked for.
    """
    page = (
        "```console\n$ echo one; echo two\none\n$ printf 'a\\nb\\n'\n…\nb\n$ false\n$ false\n"
        "$ echo $?\n1\n$ cd / && echo 'in 3 s'\nin 12 s\n$ pwd\n/\n```\n"
    )
    found = list(differences(commands_in(page), tmp_path, os.environ))

    assert [one.partition("\n")[0] for one in found] == ["$ echo one; echo two", "$ false"]


def test_what_changes_each_time_may_stand_as_it_was() -> None:
    assert is_as_shown(
        "run 20270101-101010-ffff: [1:05] 12 s\n", "run 20261126-150933-f802: [0:07] 7 s"
    )
    assert is_as_shown("a 5 b\n\nc\nd\n", "a … b\n…\nd")
    assert not is_as_shown("$0.30 spent", "$0.25 spent")
    assert not is_as_shown("a\nb", "a")


def test_pages_name_their_files(tmp_path: Path) -> None:
    assert files_in("```yaml\n# a.yaml\nb: 1\n```\n```yaml\nc: 2\n```\n") == {"a.yaml": "b: 1\n"}
