"""Export, report and repair on a Ray cluster: the same bytes, whatever becomes of its nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from fluxbatch import Dataset
from fluxbatch.cli import main
from fluxbatch.errors import ConfigError
from tests.export.made import control_file, files_of, made_dataset, row
from tests.support.ray_cluster import PROJECT, RayProcess, ray_process

ROWS, SHARD = 400, 4
ENDS_S = 120.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three kinds; every tenth has a control image, every fiftieth has failed."""
    place = tmp_path_factory.mktemp("made")
    control = control_file(place / "control.png")
    rows = [
        row(number, f"row {number}", control=control if number % 10 == 0 else None)
        for number in range(1, ROWS + 1)
    ]
    with made_dataset(place / "d", rows) as maker:
        for number, one in enumerate(rows):
            if number % 50 == 7:
                maker.failed(one)
            else:
                maker.done(one, ("png", "jpg", "webp")[number % 3])
    return place / "d"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayProcess]:
    """A head and three nodes."""
    with ray_process([{}, {}, {}]) as running:
        yield running


def command(
    cluster: RayProcess, *words: object, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[str]:
    environ = {**os.environ, "RAY_ADDRESS": cluster.address, "EACHLABS_API_KEY": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", *map(str, words), "--on", "ray"],
        env=environ, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        pass_fds=pass_fds,
    )  # fmt: skip


def said(process: subprocess.Popen[str], code: int) -> str:
    """What it said, once it has ended with *code*."""
    text, _ = process.communicate(timeout=ENDS_S)
    assert process.returncode == code, text
    return text


def in_the_middle(process: subprocess.Popen[str], to: Path) -> int:
    """How many shards there are, once there are a few."""
    until_s = time.monotonic() + ENDS_S
    while time.monotonic() < until_s and process.poll() is None:
        if (done := len(list(to.glob("*_stats.json")))) >= 5:
            return done
        time.sleep(0.01)
    raise AssertionError(f"no shard was written: {process.communicate(timeout=ENDS_S)}")


_NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def proven(test: Callable[..., None]) -> Callable[..., None]:
    """Against a real cluster, where Ray is installed."""
    marked: Callable[..., None] = pytest.mark.machines(pytest.mark.timeout(400)(_NEEDS_RAY(test)))
    return marked


@proven
def test_a_cluster_writes_the_same_bytes_also_when_a_node_is_lost_in_the_middle(
    dataset: Path, cluster: RayProcess, tmp_path: Path
) -> None:
    """
    Every file of every split, by a relative path; the node goes with what it was writing.
    """
    splits = ("train=70%", "test=30%")
    words = ("export", dataset, "--format", "webdataset", "--shard-size", SHARD)
    flags = [word for split in splits for word in ("--split", split)]
    one = Dataset(dataset).export(
        "webdataset", tmp_path / "here" / "to", shard_size=SHARD, splits=splits
    )
    to = tmp_path / "there" / "to"
    with command(cluster, *words, *flags, "--to", os.path.relpath(to, PROJECT)) as process:
        assert in_the_middle(process, to) < one.written // SHARD // 2
        cluster.remove(1)
        said(process, 0)

    assert files_of(one.path) == files_of(to)


_HOLDS_ALL = """
import ray, sys
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def is_there(self): return True
holders = [Holder.remote() for _ in range(int(ray.available_resources()["CPU"]))]
ray.get([one.is_there.remote() for one in holders])
print("held", flush=True)
sys.stdin.read()
"""


@proven
def test_a_cluster_without_a_free_cpu_is_waited_for_and_that_is_said(
    dataset: Path, cluster: RayProcess, tmp_path: Path
) -> None:
    environ = {**os.environ, "RAY_ADDRESS": cluster.address}
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS_ALL], env=environ, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        words = ("export", dataset, "--format", "webdataset", "--to", tmp_path / "to")
        process = command(cluster, *words)
        assert process.stdout is not None
        assert "the Ray cluster has no CPU free: waiting" in process.stdout.readline()
        holder.stdin.close()
        said(process, 0)


@proven
def test_a_cluster_makes_the_same_report_and_finds_the_same_faults(
    dataset: Path, cluster: RayProcess, tmp_path: Path
) -> None:
    """
    Also of an image that is gone and one that is cut.
    """
    shutil.copytree(dataset, broken := tmp_path / "d")
    gone, cut, *_ = sorted((broken / "images").iterdir())
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    Dataset(broken).report(tmp_path / "here")

    said(command(cluster, "report", broken, "--to", tmp_path / "there"), 0)
    told = said(command(cluster, "repair", broken), 5)

    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert f"images/{gone.name}" in told
    assert f"images/{cut.name}" in told
    assert f"({ROWS - ROWS // 50:,} files checked" in told


@proven
def test_a_node_that_sees_another_disk_is_named_and_nothing_is_written(
    dataset: Path, cluster: RayProcess, tmp_path: Path
) -> None:
    """
    A handle of the one who asks leads to the folder there, and nowhere on a node.
    """
    handle = os.open(tmp_path, os.O_RDONLY)
    elsewhere = Path(f"/proc/self/fd/{handle}")
    shutil.copytree(dataset, tmp_path / "d")
    to = tmp_path / "a"
    words = ("export", dataset, "--format", "webdataset", "--to", elsewhere / "a")

    unrepaired = said(command(cluster, "repair", elsewhere / "d", pass_fds=[handle]), 2)
    unexported = said(command(cluster, *words, pass_fds=[handle]), 2)
    os.close(handle)

    assert "does not see the dataset's images" in unrepaired
    assert "sink.store" in unrepaired
    assert f"does not see '{elsewhere}" in unexported
    assert "--to" in unexported
    assert [path for path in to.rglob("*") if path.suffix == ".tar"] == []
    assert list(to.rglob(".seen-*")) == []


@pytest.mark.parametrize("verb", ["export", "report", "repair"])
@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--on", "slurm"], "--on 'slurm': there is 'ray'"),
        (["--on", "ray", "--processes", "2"], "leave one of them out"),
        (["--on", "ray"], "no Ray cluster answers at '127.0.0.1:9'"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused(
    verb: str,
    flags: list[str],
    why: str,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    With exit 2, before anything is made.
    """
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    more = ["--format", "webdataset"] if verb == "export" else []
    to = ["--to", str(tmp_path / "to")] if verb != "repair" else []

    assert main([verb, str(dataset), *more, *to, *flags]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
    with pytest.raises(ConfigError, match=r"Ray|ray"):
        Dataset(dataset).export("webdataset", tmp_path / "to", on="ray")
