"""A dataset in PostgreSQL, whose images are in a folder that machines share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxbatch import Dataset
from fluxbatch.config.endpoints import store_address
from tests.integration.test_images_elsewhere import manifest
from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.proof


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "mounted here"
    folder.mkdir()
    return folder


@pytest.fixture
def address(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    return f"{server.url}/{request.node.name[:50]}"


def run(emulator: EmulatorProcess, path: Path, store: Path, out: str) -> Ended:
    env = {"FLUXBATCH_SINK__MIN_FREE": "0", "FLUXBATCH_SINK__STORE": f"file://{store}"}
    return fluxbatch("run", path, "--out", out, "--base-url", emulator.base_url, "--json", env=env)


def pictures(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.suffix in {".png", ".webp", ".jpg"})
    return {path.name: path.read_bytes() for path in found}


def test_every_verb_finds_the_images_by_the_ledger_alone(
    emulator: EmulatorProcess, shared: Path, tmp_path: Path, address: str
) -> None:
    ended = run(emulator, manifest(tmp_path, 3), shared, address)
    assert ended.code == 0, ended.err
    kept = pictures(shared)
    assert len(kept) == 3
    assert not list((shared / "tmp").iterdir())
    images = [image for result in Dataset(address).results() for image in result.images]
    assert {image.read() for image in images} == set(kept.values())
    status = fluxbatch("status", address)
    assert str(shared) in status.out
    assert address in status.out
    assert fluxbatch("ls", address).code == 0
    assert fluxbatch("show", address, "#1").code == 0
    assert fluxbatch("why", address, "#1").code == 0
    assert fluxbatch("watch", address).code == 0
    assert fluxbatch("report", address, "--to", tmp_path / "r").code == 0
    exported = fluxbatch("export", address, "-f", "imagefolder", "--to", tmp_path / "e")
    assert exported.code == 0, exported.err
    name, content = kept.popitem()
    (next(shared.rglob(name))).unlink()
    for verb in ("repair", "reconcile", "cancel"):
        ended = fluxbatch(verb, address, "--base-url", emulator.base_url)
        assert ended.code == 0, ended.err
    assert pictures(shared)[name] == content
    assert fluxbatch("retry", address).code == 0


def test_a_folder_belongs_to_one_dataset(
    emulator: EmulatorProcess, shared: Path, tmp_path: Path, address: str
) -> None:
    path = manifest(tmp_path, 2)
    assert run(emulator, path, shared, address).code == 0
    before = pictures(shared)
    other = run(emulator, path, shared, f"{address}-other")
    assert other.code == 2
    assert "holds the images of another dataset" in other.err
    assert pictures(shared) == before
    assert emulator.stats()["billed"] == 2


def test_a_folder_that_is_not_there_is_not_made(
    emulator: EmulatorProcess, tmp_path: Path, address: str
) -> None:
    """
    It may be the place of a disk that is missing.
    """
    ended = run(emulator, manifest(tmp_path, 1), tmp_path / "nowhere", address)
    assert ended.code == 2
    assert "there is no folder" in ended.err
    assert "mount it" in ended.err
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_not_mounted_has_lost_nothing(
    emulator: EmulatorProcess, shared: Path, tmp_path: Path, address: str
) -> None:
    """
    Nothing is bought, fetched or written in what was left of the mount point.
    """
    assert run(emulator, manifest(tmp_path, 2), shared, address).code == 0
    kept = shared.rename(tmp_path / "unmounted")
    shared.mkdir()
    again = run(emulator, manifest(tmp_path, 3), shared, address)
    assert (again.code, "mount the folder here" in again.err) == (2, True)
    repaired = fluxbatch("repair", address, "--base-url", emulator.base_url)
    assert (repaired.code, "mount the folder here" in repaired.err) == (2, True)
    assert list(shared.iterdir()) == []
    shared.rmdir()
    kept.rename(shared)
    assert run(emulator, manifest(tmp_path, 3), shared, address).code == 0
    assert len(pictures(shared)) == 3


def test_a_dataset_in_a_folder_keeps_its_images_in_it(
    emulator: EmulatorProcess, shared: Path, tmp_path: Path
) -> None:
    """
    A stranger's dataset could name any folder of this machine.
    """
    ended = run(emulator, manifest(tmp_path, 1), shared, str(tmp_path / "d"))
    assert ended.code == 2
    assert "is for datasets in PostgreSQL" in ended.err
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:///mnt/a", "file:///mnt/a"),
        ("FILE:///mnt/a b/", "file:///mnt/a b"),
    ],
)
def test_the_address_of_a_folder_is_absolute(url: str, address: str) -> None:
    assert store_address(url) == address


@pytest.mark.parametrize(
    "url",
    ["file:///", "file://host/a", "file:a", "file:///a/../b", "file:///a//b", "file:///a%20b",
     "file:///a\\b", "file:///a\0b", "/mnt/a"],
)  # fmt: skip
def test_no_other_address_is_taken_for_a_folder(url: str) -> None:
    with pytest.raises(ValueError, match="is no store of images"):
        store_address(url)
