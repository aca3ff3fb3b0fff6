"""A dataset whose images are in a real object store, from the first run to the last reader."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from fluxbatch import Dataset
from tests.kills.killing import PHOTO
from tests.support.commands import Ended, fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.object_store import SECRET, ObjectStore, object_store

pytestmark = pytest.mark.proof

BUCKET = "pictures"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture
def env(store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """A run with it stores in the bucket; without the last two nothing names the store."""
    store.make(BUCKET)
    return {
        **store.env,
        "FLUXBATCH_SINK__MIN_FREE": "0",
        "FLUXBATCH_SINK__TIMEOUT": "2",
        "FLUXBATCH_SINK__STORE": f"s3://{BUCKET}/{tmp_path.name}",
    }


def manifest(folder: Path, jobs: int) -> Path:
    path = folder / "m.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "control_image"])
        table.writerows([f"a cat, {number}", PHOTO] for number in range(jobs))
    return path


def run(path: Path, emulator: EmulatorProcess, env: Mapping[str, str], out: str = "d") -> Ended:
    place = path.parent / out
    return fluxbatch(
        "run", path, "--out", place, "--base-url", emulator.base_url, "--json", env=env
    )


def images_in(store: ObjectStore, folder: Path) -> dict[str, bytes]:
    """Without what is said of each beside it."""
    there = store.contents(f"{BUCKET}/{folder.name}/images")
    return {name: content for name, content in there.items() if not name.endswith(".json")}


def plain(env: Mapping[str, str]) -> dict[str, str]:
    """As a verb has it that is given the folder alone."""
    return {name: value for name, value in env.items() if name != "FLUXBATCH_SINK__STORE"}


def test_every_verb_finds_the_images_by_the_ledger_alone(
    store: ObjectStore, emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path
) -> None:
    """
    None is told where they are; none keeps a copy but those whose work it is.
    """
    made = run(manifest(tmp_path, 4), emulator, env)
    place, out = env["FLUXBATCH_SINK__STORE"], tmp_path / "d"
    assert made.code == 0, made.err
    assert f"images   {place}/images" in made.err
    assert not (out / "images").exists()
    assert len(images_in(store, tmp_path)) == 4

    told = {
        verb: fluxbatch(*verb.split(), env=plain(env), cwd=tmp_path)
        for verb in (
            "status d",
            "show d #1",
            "repair d --json",
            "report d --json",
            "export d --format imagefolder",
        )
    }
    assert {verb: ended.err for verb, ended in told.items() if ended.code} == {}
    assert f"4 in {place}/images" in told["status d"].out
    assert "the file is whole" in told["show d #1"].out
    shown = next(word for word in told["show d #1"].out.split() if word.startswith(place))
    assert fluxbatch("show", "d", shown, env=plain(env), cwd=tmp_path).out == told["show d #1"].out
    assert "fluxbatch show DIR URL" in fluxbatch("show", shown, env=plain(env)).err
    files = told["repair d --json"].object["files"]
    assert (files["checked"], files["missing"]) == (4, 0)
    assert len(list((out / "report" / "thumbs").rglob("*.webp"))) == 5
    assert len(list((out / "exports").rglob("*_0.webp"))) == 4
    assert SECRET not in "".join(ended.out + ended.err for ended in (made, *told.values()))
    assert SECRET.encode() not in (out / "ledger.sqlite").read_bytes()


def test_programs_read_images_wherever_they_are(
    emulator: EmulatorProcess,
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    There is no path, but the place and the bytes.
    """
    assert run(manifest(tmp_path, 2), emulator, env).code == 0
    for name, value in plain(env).items():
        monkeypatch.setenv(name, value)
    results = list(Dataset.open(tmp_path / "d").results())

    for result in results:
        (image,) = result.images
        assert image.path is None
        assert image.place.startswith(env["FLUXBATCH_SINK__STORE"])
        assert hashlib.sha256(image.read()).hexdigest() == image.sha256
    assert len(results) == 2
    assert results[0].paths == ()


def test_repair_fetches_objects_again_for_nothing(
    store: ObjectStore, emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path
) -> None:
    """
    One is gone, one is another, one is a stranger's, which is left alone.
    """
    run(manifest(tmp_path, 3), emulator, env)
    place = f"{BUCKET}/{tmp_path.name}/images"
    before = images_in(store, tmp_path)
    gone, other, _ = sorted(before)
    store.delete(BUCKET, f"{tmp_path.name}/images/{gone}")
    store.put(f"{place}/{other}", b"other bytes")
    store.put(f"{place}/stranger.png", b"mine")
    words = ("repair", tmp_path / "d", "--json", "--base-url", emulator.base_url)
    mended = fluxbatch(*words, env=plain(env))

    assert mended.code == 0, mended.err
    told = mended.object
    assert (told["files"]["missing"], told["files"]["corrupt"]) == (1, 1)
    assert told["strays"]["paths"] == ["images/stranger.png"]
    assert images_in(store, tmp_path) == {**before, "stranger.png": b"mine"}
    assert emulator.stats()["billed"] == 3


def test_names_and_sidecars_are_those_of_a_folder(
    store: ObjectStore, emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path
) -> None:
    """
    Whatever script a name is in; what is said beside an image is mended, and goes without one.
    """
    path = tmp_path / "m.csv"
    path.write_text(f"prompt,control_image\n絶景 の 灯台/50%,{PHOTO}\nnaïve café,{PHOTO}\n")
    named = {**env, "FLUXBATCH_SINK__PATH_TEMPLATE": "{prompt}/{job8}"}
    assert run(path, emulator, named).code == 0
    assert run(path, emulator, named).object["images"] == 2
    place = f"{BUCKET}/{tmp_path.name}/images"
    before = store.contents(place)
    first, second = sorted(name for name in before if name.endswith(".json"))
    assert [json.loads(before[name])["prompt"] for name in (first, second)] == [
        "naïve café", "絶景 の 灯台/50%",
    ]  # fmt: skip
    listed = fluxbatch("ls", tmp_path / "d", "--json").out.splitlines()[:2]
    assert {f"images/{name}" for name in images_in(store, tmp_path)} == {
        json.loads(line)["files"][0] for line in listed
    }
    store.put(f"{place}/{first}", before[first][:30])
    store.delete(BUCKET, f"{tmp_path.name}/images/{second}")
    orphan = {**json.loads(before[first]), "job": "0" * 32}
    store.put(f"{place}/{'0' * 32}_0.json", json.dumps(orphan).encode())
    mended = fluxbatch("repair", tmp_path / "d", "--json", env=plain(env))

    assert mended.code == 0, mended.err
    assert (mended.object["sidecars"]["written"], mended.object["strays"]["files"]) == (2, 0)
    assert store.contents(place) == before


def test_a_dataset_keeps_its_images_in_one_place(
    emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path
) -> None:
    """
    A run that names another, or none, is refused with the remedy; so is another dataset.
    """
    path = manifest(tmp_path, 2)
    place = env["FLUXBATCH_SINK__STORE"]
    assert run(path, emulator, env).code == 0
    assert run(path, emulator, plain(env), out="local").code == 0
    billed = emulator.stats()["created"]
    without = run(path, emulator, plain(env))
    elsewhere = run(path, emulator, {**env, "FLUXBATCH_SINK__STORE": f"{place}-2"})
    too_late = run(path, emulator, {**env, "FLUXBATCH_SINK__STORE": f"{place}-3"}, out="local")
    second = run(path, emulator, env, out="second")

    assert [ended.code for ended in (without, elsewhere, too_late, second)] == [2, 2, 2, 2]
    assert f"set sink.store to '{place}'" in without.err
    assert f"set sink.store to '{place}'" in elsewhere.err
    assert "in its own folder" in too_late.err
    assert "holds the images of another dataset" in second.err
    assert emulator.stats()["created"] == billed
    assert run(path, emulator, env).object["cost_usd"]["run"] == "0.00"


@pytest.mark.parametrize("goes", ["to a bucket", "to its folder"])
def test_what_a_crash_left_does_not_stay_in_a_place_that_is_left(
    store: ObjectStore, emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path, goes: str
) -> None:
    """
    Killed between the images and their ledger entries, then another `sink.store`: they are
    fetched again, once, and lie in one place.
    """
    path = manifest(tmp_path, 2)
    first, then = (env, plain(env)) if goes == "to its folder" else (plain(env), env)
    assert run(path, emulator, first).code == 0
    with closing(connect(tmp_path / "d" / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE outputs SET state = 'wanted', path = NULL, sha256 = NULL")
        ledger.execute("UPDATE jobs SET state = 'generated'")
    billed = emulator.stats()["created"]
    there, here = images_in(store, tmp_path), list((tmp_path / "d" / "images").glob("*.webp"))
    assert sorted((len(there), len(here))) == [0, 2]

    assert run(path, emulator, then).code == 0
    left, right = images_in(store, tmp_path), list((tmp_path / "d" / "images").glob("*"))
    assert (len(left), len(right)) == ((0, 4) if goes == "to its folder" else (2, 0))
    assert emulator.stats()["created"] == billed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"FLUXBATCH_SINK__STORE": "s3://no-such-bucket/x"}, "there is no such bucket: make it"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "run again once it answers"),
    ],
)
def test_a_store_that_takes_nothing_is_found_before_anything_is_bought(
    emulator: EmulatorProcess,
    env: dict[str, str],
    tmp_path: Path,
    changed: dict[str, str],
    said: str,
) -> None:
    """
    The address and what to do about it.
    """
    refused = run(manifest(tmp_path, 2), emulator, {**env, **changed})

    assert refused.code == 1
    assert said in refused.err
    assert "'s3://" in refused.err
    assert emulator.stats()["created"] == 0


@pytest.mark.parametrize("address", ["ftp://b/x", "s3://", "s3://b/../x", "s3://u:pass@b/x", "b"])
def test_what_is_no_store_is_a_bad_setting(
    emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path, address: str
) -> None:
    """
    A password in it is not shown.
    """
    refused = run(manifest(tmp_path, 1), emulator, {**env, "FLUXBATCH_SINK__STORE": address})

    assert refused.code == 2
    assert "sink.store: " in refused.err
    assert "pass" not in refused.err


def test_a_store_that_goes_away_stops_the_run_and_loses_nothing(
    emulator: EmulatorProcess, env: dict[str, str], tmp_path: Path
) -> None:
    """
    Exit 1, what was paid stays wanted; run again once it is back, nothing is bought twice. Then its
    bucket is deleted: that is told, and not taken for images that are missing.
    """
    path = manifest(tmp_path, 12)
    with object_store() as mortal:
        mortal.make(BUCKET)
        address = {**env, **mortal.env}
        words = ("run", path, "--out", tmp_path / "d", "--base-url", emulator.base_url, "--json")
        with started(*words, env={**address, "FLUXBATCH_LIMITS__CONCURRENT": "1"}) as process:
            while not mortal.contents(f"{BUCKET}/{tmp_path.name}/images"):
                assert process.poll() is None
            mortal.delete(BUCKET)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert "there is no such bucket" in err
        assert json.loads(out.splitlines()[-1])["jobs"]["done"] < 12

        looked = fluxbatch("repair", tmp_path / "d", "--json", env=plain(address))
        assert looked.code == 1
        assert "there is no such bucket" in looked.err
        mortal.make(BUCKET)
        again = run(path, emulator, address)
        mended = fluxbatch(*map(str, ("repair", tmp_path / "d", "--json")), env=plain(address))

        assert again.code == 0, again.err
        assert mended.code == 0, mended.err
        assert len(images_in(mortal, tmp_path)) == 12
    assert emulator.stats()["billed"] == 12
    assert emulator.stats()["double_billed"] == 0
