"""Control images in a real object store, from the manifest to the provider."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.object_store import SECRET, ObjectStore, object_store

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(out, "PNG")
    return out.getvalue()


def manifest(folder: Path, *given: str) -> Path:
    path = folder / "m.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "control_image"])
        table.writerows([f"a cat, {number}", image] for number, image in enumerate(given))
    return path


def run(path: Path, emulator: EmulatorProcess, env: Mapping[str, str], *words: object) -> Ended:
    out = path.parent / "d"
    return fluxbatch(
        "run", path, "--out", out, "--base-url", emulator.base_url, "--json", *words, env=env
    )


def test_an_object_goes_on_as_a_local_file_does(
    store: ObjectStore, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Uploaded once per content, whatever its names; `plan` says how much, and leaves nothing."""
    store.put("photos/deep/a b ü.png", png("red"))
    store.put("photos/copy.png", png("red"))
    store.put("photos/c.png", png("blue"))
    (tmp_path / "local.png").write_bytes(png("red"))
    names = ["s3://photos/deep/a b ü.png", "S3://photos/copy.png", "s3://photos/c.png", "local.png"]
    path = manifest(tmp_path, *names)

    planned = fluxbatch("plan", path, "--out", tmp_path / "d", env=store.env)
    assert planned.code == 0, planned.err
    assert "uploads   2 local files" in planned.out
    assert f"upload:sha256:{hashlib.sha256(png('red')).hexdigest()}" in planned.out
    assert not (tmp_path / "d").exists()
    made = run(path, emulator, store.env)

    assert (made.code, made.object["jobs"]["done"]) == (0, 4), made.err
    assert emulator.stats()["uploads"] == 2
    sent = [one["input"]["control_image"] for one in emulator.predictions()]
    assert len(set(sent)) == 2
    assert not any("s3://" in url for url in sent)
    assert SECRET not in made.err + made.out + planned.err


def test_a_changed_object_is_another_job_and_a_lost_copy_is_fetched_again(
    store: ObjectStore, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """The manifest is the same file all along, and known to the dataset."""
    store.put("changing/a.png", png("red"))
    store.put("changing/b.png", png("green"))
    path = manifest(tmp_path, "s3://changing/a.png", "s3://changing/b.png")
    first = run(path, emulator, store.env, "--limit", 1)
    assert first.code == 4, first.err
    for kept in (tmp_path / "d" / "controls").iterdir():
        kept.unlink()
    second = run(path, emulator, store.env)
    store.put("changing/a.png", png("blue"))
    planned = fluxbatch("plan", path, "--out", tmp_path / "d", "--json", env=store.env).object
    third = run(path, emulator, store.env)
    fourth = run(path, emulator, store.env)

    assert (second.code, second.object["jobs"]["done"]) == (0, 2), second.err
    assert (planned["jobs"]["changed"], planned["jobs"]["done"]) == (1, 1)
    assert (third.code, third.object["cost_usd"]["run"]) == (0, "0.025"), third.err
    assert (fourth.code, fourth.object["cost_usd"]["run"]) == (0, "0.00"), fourth.err
    assert emulator.stats()["billed"] == 3


def test_what_is_not_there_or_not_allowed_is_a_bad_row(
    store: ObjectStore, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Each with its reason; nothing is bought, and with `--skip-invalid` the good ones are."""
    store.put("some/a.png", png("red"))
    store.put("some/text.png", b"no image")
    names = ["s3://some/a.png", "s3://some/none.png", "s3://some/text.png", "s3://nowhere/a.png"]
    path = manifest(tmp_path, *names)
    refused = run(path, emulator, store.env)

    assert refused.code == 2
    for number, said in ((2, "no such object"), (3, "is not a JPEG, PNG or WebP"), (4, "fetch")):
        assert f"row {number} (line {number + 1}), control_image:" in refused.err
        assert said in refused.err
    assert SECRET not in refused.err
    assert emulator.stats()["created"] == 0
    assert run(path, emulator, store.env, "--skip-invalid").object["jobs"]["done"] == 1


def test_a_store_that_does_not_answer_is_said_and_soon(
    store: ObjectStore, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """It is not asked once for every row."""
    env = {**store.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    path = manifest(tmp_path, *(f"s3://some/{number}.png" for number in range(200)))
    refused = run(path, emulator, env)

    assert refused.code == 2
    assert "cannot fetch 's3://some/0.png'" in refused.err
    assert "did not answer other rows either" in refused.err
    assert emulator.stats()["created"] == 0
