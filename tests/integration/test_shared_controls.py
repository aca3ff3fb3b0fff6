"""Control images that only one of a dataset's machines has, on a real PostgreSQL."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from tests.kills.killing import wait_for_creates
from tests.kills.sharing import SharedRun, shared_run
from tests.kills.sharing import emulator as emulator
from tests.support.commands import fluxbatch

pytestmark = pytest.mark.machines

_JOBS = 80
"""More than one process uploads for before its first create."""


shared = shared_run(accounts=2)


def _machine(run: SharedRun, name: str) -> Path:
    """A folder with the manifest, as one machine has it, and no image in it."""
    run.images.mkdir(exist_ok=True)
    folder = run.folder / name
    folder.mkdir()
    rows = [{"prompt": f"a rocket, {n}", "control_image": f"{n}.png"} for n in range(_JOBS)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{run.dataset}.jsonl").write_text(text)
    return folder


def _paint(folder: Path) -> set[str]:
    """An image of its own for each job; the hashes of all."""
    for number in range(_JOBS):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number}.png")
    return {sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.png")}


def test_a_machine_without_the_control_images_makes_the_jobs(shared: SharedRun) -> None:
    """
    Whoever imported is killed, and its files are gone: what it copied is enough.
    """
    first, second = _machine(shared, "first"), _machine(shared, "second")
    hashes = _paint(first)
    shared.start(0, first)
    wait_for_creates(shared.emulator, 1)
    assert {path.name for path in (shared.images / "controls").iterdir()} == hashes
    shared.kill(0)
    ((uploaded,),) = shared.rows("SELECT count(*) FROM uploads")
    assert uploaded < _JOBS
    shutil.rmtree(first)
    for worker in (1, 2):
        shared.start(worker, second)
    assert shared.finish() == [0, 0], shared.logs()
    assert shared.check(_JOBS)["billed"] == _JOBS
    sent = {digest for (digest,) in shared.rows("SELECT sha256 FROM uploads")}
    assert sent == hashes

    exported, reported = shared.folder / "exported", shared.folder / "reported"
    _ask(shared, "export", "--format", "imagefolder", "--to", exported)
    _ask(shared, "report", "--to", reported)
    controls = exported.rglob("control/*.png")
    assert {sha256(path.read_bytes()).hexdigest() for path in controls} == hashes
    thumbs = {path.stem for path in reported.rglob("thumbs/*/*.webp")}
    assert thumbs >= {digest[:24] for digest in hashes}


def _ask(run: SharedRun, verb: str, *words: object) -> None:
    """A verb on a machine that has none of the control images' files."""
    ended = fluxbatch(verb, run.address, *words, env=run.environment(9))
    assert ended.code == 0, ended.err


def test_a_control_image_that_has_changed_is_not_sent(shared: SharedRun) -> None:
    """
    What the manifest was read with is, and the user is told.
    """
    first = _machine(shared, "first")
    hashes = _paint(first)
    shared.start(0, first)
    wait_for_creates(shared.emulator, 1)
    shared.kill(0)
    for path in first.glob("*.png"):
        Image.new("RGB", (16, 16), (0, 99, 0)).save(path)
    shared.start(1, first)
    assert shared.finish() == [0], shared.logs()
    assert {digest for (digest,) in shared.rows("SELECT sha256 FROM uploads")} == hashes
    assert "is not what the manifest was read with" in shared.log(1).read_text()
    assert {path.name for path in (shared.images / "controls").iterdir()} == hashes


def test_a_damaged_copy_is_not_sent(shared: SharedRun) -> None:
    first, second = _machine(shared, "first"), _machine(shared, "second")
    _paint(first)
    shared.start(0, first)
    wait_for_creates(shared.emulator, 1)
    shared.kill(0)
    shutil.rmtree(first)
    for path in (shared.images / "controls").iterdir():
        path.write_bytes(b"no image")
    shared.start(1, second)
    assert shared.finish() == [3], shared.logs()
    reasons = [reason for (reason,) in shared.rows("SELECT reason FROM jobs WHERE failure <> ''")]
    assert all("in the image store is damaged" in reason for reason in reasons), reasons
    assert shared.emulator.stats()["billed"] == _JOBS - len(reasons)
