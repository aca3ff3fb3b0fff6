"""A dataset that somebody else made, opened with every verb: nothing outside it is touched.

Its ledger, its links and its sidecars lead to a folder of the user's. Afterwards that folder is as
it was, byte by byte, nobody has read in it, and nothing of it is in what the verbs wrote or said.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

CANARY = b"canary-7f1c5e0b93"
A_DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as running:
        yield running


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, emulator: EmulatorProcess) -> Path:
    """The folder of a manifest and of the dataset `d` that was made from it."""
    place = tmp_path_factory.mktemp("honest")
    assert run(emulator, write_manifest(place / "m.jsonl", 4)).code == 0
    return place


class Scene:
    """A copy of the dataset in a stranger's hands, and the user's own folder beside it."""

    def __init__(self, honest: Path, place: Path) -> None:
        shutil.copytree(honest, place / "work")
        self.work, self.d, self.mine = place / "work", place / "work" / "d", place / "mine"
        self.mine.mkdir()
        (self.mine / "half.part").write_bytes(CANARY)
        (self.mine / "settings.json").write_bytes(CANARY)
        (self.mine / "token").write_bytes(CANARY)
        out = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(out, "PNG")
        (self.mine / "private.png").write_bytes(out.getvalue() + CANARY)
        self.images = sorted(p for p in (self.d / "images").iterdir() if p.suffix != ".json")
        for path in self.mine.iterdir():
            before = path.stat().st_mtime_ns - A_DAY_NS
            os.utime(path, ns=(before, before + 1))  # older than itself: a reading would show
        self._before = self._seen()

    def sql(self, text: str, *values: object) -> None:
        with closing(sqlite3.connect(self.d / "ledger.sqlite")) as db, db:
            db.execute(text, values)

    def link(self, name: str, to: Path) -> None:
        """Put a link in the place of a file or folder of the dataset."""
        path = self.d / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(to)

    def untouched(self, *, may_be_read: bool = False) -> bool:
        """Whether the user's folder is as it was, and nobody has read in it."""
        now = self._seen()
        if may_be_read:
            return {n: s[1:] for n, s in now.items()} == {n: s[1:] for n, s in self._before.items()}
        return now == self._before

    def leaks(self) -> list[str]:
        """Files outside of the user's folder that have something of it."""
        return [
            str(path)
            for folder, _, names in os.walk(self.work)
            for path in (Path(folder, name) for name in names)
            if not path.is_symlink() and CANARY in path.read_bytes()
        ]

    def _seen(self) -> dict[str, tuple[int, int, bytes]]:
        told = {path: path.stat() for path in self.mine.iterdir()}
        return {
            path.name: (stat.st_atime_ns, stat.st_mtime_ns, _content(path, stat))
            for path, stat in told.items()
        }


def _content(path: Path, stat: os.stat_result) -> bytes:
    """Read so that it does not show."""
    content = path.read_bytes()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return content


VERBS: dict[str, tuple[str, ...]] = {
    "ls": ("ls", "d"),
    "show": ("show", "d", "#1"),
    "why": ("why", "d", "#1"),
    "status": ("status", "d"),
    "watch": ("watch", "d"),
    "report": ("report", "d"),
    **{
        form: ("export", "d", "--format", form)
        for form in ("jsonl", "csv", "parquet", "imagefolder", "webdataset")
    },
    "costs": ("costs", "d"),
    "rate": ("rate", "d", "#1", "keep"),
    "reroll": ("reroll", "d", "--where", "prompt", "--budget", "0.01"),
    "ctl": ("ctl", "d", "show"),
    "push": ("push", "d", "hf://datasets/me/name"),
    "retry": ("retry", "d"),
    "cancel": ("cancel", "d", "--wait", "1"),
    "reconcile": ("reconcile", "d"),
    "prune": ("uploads", "prune", "d", "--yes"),
    "plan": ("plan", "m.jsonl", "--out", "d"),
    "run": ("run", "m.jsonl", "--out", "d", "--budget", "0.01"),
    "repair": ("repair", "d"),
    "recover": ("recover", "d"),
}


def opened(scene: Scene, emulator: EmulatorProcess, verb: str) -> Ended:
    words = VERBS[verb]
    needs_provider = verb in {"cancel", "reconcile", "prune", "plan", "run", "repair", "recover"}
    more = ("--base-url", emulator.base_url) if needs_provider else ()
    # Nobody listens there, so a push comes as far as what it would send.
    env = {"FLUXBATCH_SINK__MIN_FREE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_a"}
    env["FLUXBATCH_LIMITS__WINDOW"] = "1"  # the lane's file is not there: one window is waited for
    return fluxbatch(*words, *more, cwd=scene.work, env=env)


def _outputs(path: Callable[[Scene], str]) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        scene.sql("UPDATE outputs SET path = ? WHERE seq = 1", path(scene))

    return change


def _image_linked(scene: Scene) -> None:
    scene.images[0].unlink()
    scene.images[0].symlink_to(scene.mine / "private.png")


def _folder_linked(scene: Scene) -> None:
    (scene.d / "images" / "cats").symlink_to(scene.mine)
    scene.sql("UPDATE outputs SET path = 'images/cats/private.png' WHERE seq = 1")


def _sidecars_linked(scene: Scene) -> None:
    for image in scene.images:
        image.with_suffix(".json").unlink()
        image.with_suffix(".json").symlink_to(scene.mine / "settings.json")


def _key_named(scene: Scene) -> None:
    keys = [{"label": "a", "key": f"file:{scene.mine / 'token'}"}]
    text = "UPDATE runs SET settings_json = json_set(settings_json, '$.keys', json(?))"
    scene.sql(text, json.dumps(keys))


def _hash_known(scene: Scene) -> None:
    """The path leads out, and even the hash is that of the file there."""
    scene.sql("UPDATE outputs SET path = 'images/../../../mine/private.png' WHERE seq = 1")
    scene.sql("UPDATE outputs SET mime = 'image/png' WHERE seq = 1")


LEDGERS: dict[str, Callable[[Scene], None]] = {
    "a path that leads up": _outputs(lambda _: "images/../../../mine/settings.json"),
    "an absolute path": _outputs(lambda scene: str(scene.mine / "settings.json")),
    "a path beside images": _outputs(lambda _: "../../mine/private.png"),
    "a private image": _hash_known,
    "a linked image": _image_linked,
    "a linked folder of images": _folder_linked,
    "linked sidecars": _sidecars_linked,
    "a key in a file": _key_named,
}


@pytest.mark.parametrize("name", LEDGERS)
def test_no_verb_follows_what_a_ledger_says_out_of_its_dataset(
    name: str, honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Each verb does what it can without it, and says why where it cannot.
    """
    scene = Scene(honest, tmp_path)
    LEDGERS[name](scene)

    for verb in VERBS:
        ended = opened(scene, emulator, verb)
        assert "unexpected" not in ended.err, (verb, ended.err)
        assert CANARY.decode() not in ended.out + ended.err, verb
        assert scene.untouched(), (verb, ended.err)
    assert scene.leaks() == []


@pytest.mark.parametrize("name", ["a linked image", "a linked folder of images", "linked sidecars"])
def test_recover_follows_no_link_out_of_a_dataset_that_lost_its_ledger(
    name: str, honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    It makes a ledger of what is the dataset's own.
    """
    scene = Scene(honest, tmp_path)
    LEDGERS[name](scene)
    for path in scene.d.glob("ledger.sqlite*"):
        path.unlink()

    ended = opened(scene, emulator, "recover")
    assert "unexpected" not in ended.err, ended.err
    assert CANARY.decode() not in ended.out + ended.err
    assert scene.untouched(), ended.err
    assert scene.leaks() == []


@pytest.mark.parametrize(
    "name",
    ["images", "tmp", "controls", "manifests", ".lock", ".webhook-key", ".control",
     "ratings.sqlite", "run.log", "ledger.sqlite-wal", "ledger.sqlite-shm",
     "ledger.sqlite-journal"],
)  # fmt: skip
def test_a_link_in_the_place_of_what_a_dataset_keeps_is_refused(
    name: str, honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    By every verb, by its name, before anything else: half files of another folder stay.
    """
    scene = Scene(honest, tmp_path)
    is_folder = name in {"images", "tmp", "controls", "manifests"}
    scene.link(name, scene.mine if is_folder else scene.mine / "settings.json")

    for verb in VERBS:
        ended = opened(scene, emulator, verb)
        assert ended.code == 2, (verb, ended.err)
        assert f"d/{name}' is a link" in ended.err, verb
        assert scene.untouched(), verb
    assert scene.leaks() == []


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("report", "report"),
        ("report/thumbs", "report"),
        ("report/index.html.part", "report"),
        ("exports", "csv"),
        ("exports/.results.csv.part", "csv"),
        ("exports/webdataset", "webdataset"),
        ("exports/imagefolder/.fluxbatch", "imagefolder"),
    ],
)
def test_nothing_is_written_through_a_link_in_a_dataset(
    name: str, verb: str, honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    A report or an export that is to lie in the dataset lies there, or nowhere.
    """
    scene = Scene(honest, tmp_path)
    (scene.d / name).parent.mkdir(parents=True, exist_ok=True)
    scene.link(name, scene.mine if "." not in name.rpartition("/")[2] else scene.mine / "token")

    ended = opened(scene, emulator, verb)

    assert ended.code == 2, ended.err
    assert "is a link" in ended.err
    assert scene.untouched()


def test_a_control_image_is_shown_only_where_it_is_the_one_that_was_used(
    honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    It is the user's own file, wherever it lies; another one's bytes go nowhere.
    """
    scene = Scene(honest, tmp_path)
    scene.sql("UPDATE jobs SET control_path = ?", str(scene.mine / "private.png"))

    for verb in ("show", "report", "parquet", "imagefolder", "webdataset"):
        assert opened(scene, emulator, verb).code == 0, verb
        assert scene.untouched(may_be_read=True)
    assert scene.leaks() == []


def test_repair_puts_an_image_of_its_own_where_a_path_led_out(
    honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    It is paid: it comes again for nothing, under the name it has by itself.
    """
    scene = Scene(honest, tmp_path)
    scene.sql("UPDATE outputs SET path = 'images/../../../mine/new.png' WHERE seq = 1")

    first = opened(scene, emulator, "repair")
    again = opened(scene, emulator, "repair")

    assert (first.code, again.code) == (0, 0), first.err
    assert "1 refused, for the path leads out of the dataset" in first.out
    assert first.out.startswith("1 image found missing or damaged, 1 fetched")
    assert again.out.startswith("every file is whole (")
    assert not (scene.mine / "new.png").exists()
    assert scene.untouched()


def test_images_that_are_links_within_their_dataset_are_read(
    honest: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Programs that keep large files elsewhere in a folder leave such links.
    """
    scene = Scene(honest, tmp_path)
    (scene.d / "objects").mkdir()
    for image in scene.images:
        kept = image.rename(scene.d / "objects" / image.name)
        image.symlink_to(os.path.relpath(kept, image.parent))

    assert opened(scene, emulator, "repair").out.startswith("every file is whole (")
    assert opened(scene, emulator, "imagefolder").code == 0
