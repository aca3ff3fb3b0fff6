"""The distribution: what is built, what its metadata say, and that it works once installed."""

from __future__ import annotations

import re
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from fluxbatch import __version__
from tests.plugins.venv import ROOT, built, made_venv

pytestmark = pytest.mark.proof

MOST_WHEEL_BYTES = 1_500_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_the_wheel_has_the_package_alone_and_is_small(wheel: Path) -> None:
    """
    No tests, no benchmarks, no documents; its data and its type marker.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert wheel.name == f"fluxbatch_engine-{__version__}-py3-none-any.whl"
    assert {name.partition("/")[0] for name in names} == {
        "fluxbatch", f"fluxbatch_engine-{__version__}.dist-info",
    }  # fmt: skip
    assert [
        name for name in names if re.search(r"(^|/)(tests?|test_\w+\.py|conftest\.py)", name)
    ] == []
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fluxbatch").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {"fluxbatch/py.typed", "fluxbatch/demo/photos/rocket.jpg"} <= set(names)
    assert wheel.stat().st_size <= MOST_WHEEL_BYTES


def test_the_metadata_name_it_and_no_extra_leads_to_another(wheel: Path) -> None:
    """
    An extra that named the distribution by its command would fetch a stranger's package.
    """
    told = metadata_of(wheel)

    assert (told["Name"], told["Version"]) == ("fluxbatch-engine", __version__)
    assert "Programming Language :: Python :: 3.14" in told.get_all("Classifier", [])
    assert told["Author"]
    assert told["Keywords"]
    lines = told.get_all("Requires-Dist", [])
    of_all = {re.split(r"[\s\[<>=!;~]", line)[0] for line in lines if "extra == 'all'" in line}
    assert {"huggingface-hub", "obstore", "psycopg", "pyarrow", "uvloop"} <= of_all
    assert [line for line in lines if line.startswith(("fluxbatch", "flux-batch"))] == []


def test_no_page_and_no_message_names_another_distribution() -> None:
    """
    What is copied after `pip install` is the name in the index.
    """
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("fluxbatch/**/*.py")]
    said = [
        name
        for path in texts
        for name in re.findall(r"pip install '?(fluxbatch[\w-]*)", path.read_text(encoding="utf-8"))
    ]

    assert len(said) > 5
    assert set(said) == {"fluxbatch-engine"}


def test_the_newest_section_of_the_changelog_is_this_version() -> None:
    """
    Sections by version, the newest first.
    """
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)

    assert sections[0] == __version__
    assert sections == sorted(sections, reverse=True)


def test_the_source_distribution_has_no_tests_and_builds_the_same_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    """
    Whoever builds from it gets the same files.
    """
    packed = built(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = [path for path in tmp_path.iterdir() if path.name.startswith("fluxbatch_engine")]

    assert not (source / "tests").exists()
    assert (source / "LICENSE").is_file()
    again = built(source, "wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {one.filename: one.CRC for one in first.infolist()} == {
            one.filename: one.CRC for one in second.infolist()
        }


def test_the_installed_wheel_answers_and_runs_its_demo(tmp_path: Path) -> None:
    """
    In a venv of its own and another folder: command and import are `fluxbatch`.
    """
    made = made_venv(tmp_path / "venv")
    version = made.run("fluxbatch", "version", cwd=tmp_path)
    imported = made.run(
        "python", "-P", "-c", "import fluxbatch; print(fluxbatch.__file__)", cwd=tmp_path
    )
    demo = made.run("fluxbatch", "demo", "--json", cwd=tmp_path)

    assert version.stdout.startswith(f"fluxbatch {__version__} ")
    assert imported.stdout.startswith(str(tmp_path / "venv"))
    assert demo.returncode == 0, demo.stderr
    assert len(list((tmp_path / "demo" / "images").glob("*.json"))) > 0
