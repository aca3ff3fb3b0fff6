"""An export that is killed, repeated, or not alone."""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fluxbatch.errors import ConfigError, HeldElsewhere
from fluxbatch.export.output_dir import Draft, ExportFailed
from tests.export.made import exported, files_of, made_dataset, row

_COUNT = 40
_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.export.made import exported
left = int(sys.argv[4])
def count(event, args):
    global left
    if event == "os.rename":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
import pyarrow.parquet, fluxbatch.export.export
sys.addaudithook(count)
exported(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), shard_size=10)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place") / "dataset"
    rows = [
        row(n, f"r{n}", meta={"split": "test" if n > 30 else "train"}, prompt=f"lamp {n} " * 50)
        for n in range(1, 41)
    ]
    with made_dataset(root, rows) as maker:
        for one in rows:
            maker.done(one)
    return root


@pytest.mark.proof
@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_killed_at_every_step_it_leaves_only_whole_files(
    dataset: Path, tmp_path: Path, form: str
) -> None:
    """
    SIGKILL right before each rename: what has its name is what it will be, and the next goes on.
    """
    exported(dataset, form, tmp_path / "whole", shard_size=10)
    whole = files_of(tmp_path / "whole")
    steps = 0
    while True:
        to = tmp_path / f"killed-{steps}"
        words = [sys.executable, "-c", _KILLED, str(dataset), form, str(to), str(steps)]
        code = subprocess.run(words, capture_output=True, check=False).returncode
        if code == 0:
            break
        assert code == -9
        for name, data in files_of(to).items():
            assert "/drafts/" in name or name.endswith("export.json") or data == whole[name], name
        exported(dataset, form, to, shard_size=10)
        assert files_of(to) == whole
        steps += 1
        if steps > 4:
            steps += 6  # every step of the first shard, then some of the others
    assert steps > 8


def test_a_kept_shard_is_not_written_again_and_a_damaged_one_is(
    dataset: Path, tmp_path: Path
) -> None:
    """
    Right is what has the bytes it was given, not what has the name.
    """
    exported(dataset, "webdataset", tmp_path, shard_size=10)
    before = files_of(tmp_path)
    victim = tmp_path / "train-000001.tar"
    inode = (tmp_path / "train-000000.tar").stat().st_ino
    victim.write_bytes(victim.read_bytes()[:-512] + b"?" * 512)
    (tmp_path / "test-000000.parquet").unlink()
    done = exported(dataset, "webdataset", tmp_path, shard_size=10)

    assert (done.written, done.kept) == (2, 2)
    assert files_of(tmp_path) == before
    assert (tmp_path / "train-000000.tar").stat().st_ino == inode


@pytest.mark.parametrize("form", ["csv", "parquet", "imagefolder", "webdataset"])
def test_shards_that_are_no_more_are_removed(dataset: Path, tmp_path: Path, form: str) -> None:
    """
    Fewer shards, another filter, no test split: as if it had been exported so at first.
    """
    exported(dataset, form, tmp_path / "twice", shard_size=5)
    done = exported(dataset, form, tmp_path / "twice", where="number<=12", shard_size=10)
    exported(dataset, form, tmp_path / "once", where="number<=12", shard_size=10)

    assert done.removed >= 6
    assert files_of(tmp_path / "twice") == files_of(tmp_path / "once")
    assert not (tmp_path / "twice" / "test").exists()


def test_what_is_not_ours_is_never_touched(dataset: Path, tmp_path: Path) -> None:
    """
    A folder with something in it, another format's export, the dataset's own folders, a file.
    """
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    exported(dataset, "jsonl", tmp_path / "lines", shard_size=10)
    for place in (tmp_path / "full", tmp_path / "lines", tmp_path / "file", dataset):
        with pytest.raises(ConfigError, match=r"\(--to\)"):
            exported(dataset, "webdataset", place)
    with pytest.raises(ConfigError, match="its own files"):
        exported(dataset, "webdataset", dataset / "images" / "w")
    (tmp_path / "lines" / "notes-000001.txt").write_text("mine")
    exported(dataset, "jsonl", tmp_path / "lines", shard_size=20)

    assert files_of(tmp_path / "full") == {"thesis.txt": b"years of work"}
    assert (tmp_path / "lines" / "notes-000001.txt").read_text() == "mine"


def test_two_exports_to_one_place_do_not_meet(dataset: Path, tmp_path: Path) -> None:
    """
    The second is told, exit 6.
    """
    exported(dataset, "webdataset", tmp_path / "w")
    with (tmp_path / "w" / ".fluxbatch" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HeldElsewhere, match="another export"):
            exported(dataset, "webdataset", tmp_path / "w")


def test_a_disk_that_refuses_is_told_by_name(dataset: Path, tmp_path: Path) -> None:
    """
    Here a file is where a folder must be.
    """
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(ExportFailed, match=r"cannot write .*taken"):
        exported(dataset, "csv", tmp_path / "taken" / "below" / "x.csv")


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from fluxbatch.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("form", "limit"), [("csv", 33_000), ("webdataset", 40_000), ("webdataset", 90_000)]
)
def test_a_full_disk_is_told_and_leaves_only_whole_files(
    dataset: Path, tmp_path: Path, form: str, limit: int
) -> None:
    """
    Here no file may grow above a limit: in the table, in the spool, in the shard.
    """
    to = tmp_path / ("x.csv" if form == "csv" else "w")
    words = ["export", str(dataset), "--format", form, "--to", str(to)]
    ended = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(limit), *words],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "error: cannot write" in ended.stderr
    assert not to.is_file()
    if to.is_dir():  # the smaller split may be done: whole, with its mark
        there = {path.name for path in to.iterdir()}
        assert not {name for name in there if name.startswith(("train", "README"))}
        assert {"test-000000.tar", "test-000000_stats.json"} <= there or there == {".fluxbatch"}


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../b", "a//b", "", ".hid", "a/.b", "a\nb"])
def test_a_draft_takes_only_plain_relative_names(tmp_path: Path, name: str) -> None:
    """
    Whatever asks for it.
    """
    with pytest.raises(ValueError, match="plain relative"), Draft(tmp_path / "d").open(name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_edited_card_is_kept(dataset: Path, tmp_path: Path) -> None:
    """
    The licence is the user's to write; the new card lies beside theirs while they differ.
    """
    exported(dataset, "parquet", tmp_path, license="cc-by-4.0")
    card = tmp_path / "README.md"
    first = card.read_text()
    card.write_text(first + "\nThanks to my lamp.\n")
    kept = exported(dataset, "parquet", tmp_path, where="number<=20").card_kept
    mine, new = card.read_text(), (tmp_path / "README.md.new").read_text()
    card.unlink()
    again = exported(dataset, "parquet", tmp_path, where="number<=20").card_kept

    assert (kept, again) == (True, False)
    assert mine.endswith("Thanks to my lamp.\n")
    assert card.read_text() == new
    assert not (tmp_path / "README.md.new").exists()


def test_the_card_says_what_it_is_made_of(dataset: Path, tmp_path: Path) -> None:
    """
    A header that YAML reads, counts, costs, the filter, and a field for the licence.
    """
    exported(dataset, "imagefolder", tmp_path / "i", where="number>5 and prompt~'a`b' or row>0")
    text = (tmp_path / "i" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])

    assert header["license"] == "unknown"
    assert header["configs"][0]["drop_labels"] is True
    assert [f["split"] for f in header["configs"][0]["data_files"]] == ["test", "train"]
    assert "40 images in 40 rows, made with `flux-depth-dev` by fluxbatch" in text
    assert "cost $1.00 in 40 predictions" in text
    assert "`` number>5 and prompt~'a`b' or row>0 ``" in text
    assert re.search(r"\d{4}-\d\d-\d\d|/tmp", text) is None


@pytest.mark.parametrize(
    "beside",
    [
        True,
        pytest.param(
            False, marks=pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc")
        ),
    ],
    ids=["on the same disk", "on another"],
)
def test_a_file_that_is_taken_into_a_draft_stays_where_it_was(tmp_path: Path, beside: bool) -> None:
    """
    A shard is written anew where its process died, so what it is made of must still be there.
    """
    source = Path("/proc/version")
    if beside:
        source = tmp_path / "spool"
        source.write_bytes(b"lines\n")
    draft = Draft(tmp_path / "draft")
    draft.take("all-000000.csv", source)

    written = (tmp_path / "draft" / "all-000000.csv").read_bytes()
    assert written == source.read_bytes()
    assert draft.files == {"all-000000.csv": hashlib.sha256(written).hexdigest()}
