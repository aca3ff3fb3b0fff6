"""A file is there whole, or not at all, and a disk that fails says what to do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fluxbatch.errors import SinkError
from fluxbatch.sink import LocalStore
from fluxbatch.sink.store import PendingFile
from fluxbatch.sink.temp_file import TempFile, WrittenFile


def put(store: LocalStore, content: bytes, stem: str = "ab/job-0", extension: str = "png") -> str:
    half = store.begin()
    try:
        half.write(content)
        return keep(store, half, stem, extension).path
    finally:
        half.discard()


def keep(store: LocalStore, half: TempFile, stem: str, extension: str) -> WrittenFile:
    (kept,) = store.keep([PendingFile(half, stem, extension)])
    if isinstance(kept, SinkError):
        raise kept
    return kept


def names(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_a_kept_file_is_whole_and_known_by_its_hash(tmp_path: Path) -> None:
    """
    The path is relative to the dataset, with forward slashes on every system.
    """
    store = LocalStore(tmp_path)
    half = store.begin()
    half.write(b"one ")
    half.write(b"two")
    written = keep(store, half, "ab/job-0", "png")
    assert written.path == "images/ab/job-0.png"
    assert written.bytes == 7
    assert written.sha256 == sha256(b"one two").hexdigest()
    assert (tmp_path / written.path).read_bytes() == b"one two"
    assert names(tmp_path) == {"images/ab/job-0.png"}


def test_files_are_kept_together_and_one_that_cannot_be_hinders_no_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "images" / "ab" / "1.png").mkdir(parents=True)
    landings = []
    for number in range(3):
        half = store.begin()
        half.write(b"%d" % number)
        landings.append(PendingFile(half, f"ab/{number}", "png", b"{}"))
    first, second, third = store.keep(landings)
    assert isinstance(first, WrittenFile)
    assert isinstance(second, SinkError)
    assert "a folder is where that file must be" in str(second)
    assert isinstance(third, WrittenFile)
    assert (tmp_path / "images/ab/2.png").read_bytes() == b"2"


def test_no_file_has_its_name_before_its_bytes_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Those of one group are made durable before the first of them is named, their folder after.
    """
    store = LocalStore(tmp_path)
    landings = []
    for number in range(3):
        half = store.begin()
        half.write(b"x")
        landings.append(PendingFile(half, f"ab/{number}", "png"))
    (tmp_path / "images" / "ab").mkdir(parents=True)
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def named(source: str, target: str) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    store.keep(landings)
    assert done == ["file"] * 3 + ["name"] * 3 + ["folder"]


def test_before_it_is_kept_nothing_is_in_images(tmp_path: Path) -> None:
    """
    A kill at any moment leaves a half file in `tmp/` alone.
    """
    half = LocalStore(tmp_path).begin()
    half.write(b"half")
    assert all(name.startswith("tmp/") for name in names(tmp_path))
    half.discard()
    assert names(tmp_path) == set()


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    """
    Half files go; nothing else does.
    """
    store = LocalStore(tmp_path)
    put(store, b"whole")
    half = store.begin()
    half.write(b"half")
    (tmp_path / "tmp" / "notes.txt").write_text("the user's")
    assert store.sweep() == 1
    half.discard()
    assert names(tmp_path) == {"images/ab/job-0.png", "tmp/notes.txt"}
    assert LocalStore(tmp_path / "new").sweep() == 0


def test_the_file_of_a_crash_before_its_ledger_entry_is_replaced(tmp_path: Path) -> None:
    """
    The same output comes again under the same name; so does one under repair.
    """
    store = LocalStore(tmp_path)
    put(store, b"corrupt")
    put(store, b"whole")
    assert (tmp_path / "images/ab/job-0.png").read_bytes() == b"whole"


def test_an_output_without_a_ledger_entry_is_discarded_whatever_its_type(tmp_path: Path) -> None:
    """
    Only that one: names that begin alike are other outputs.
    """
    store = LocalStore(tmp_path)
    for stem, extension in (("ab/x-1", "png"), ("ab/x-1", "webp"), ("ab/x-10", "png")):
        put(store, b"x", stem, extension)
    put(store, b"x", "ab/x-1.5", "png")
    assert store.discard("ab/x-1") == 2
    assert store.discard("ab/x-1") == 0
    assert store.discard("none/such") == 0
    assert names(tmp_path) == {"images/ab/x-10.png", "images/ab/x-1.5.png"}


def test_a_stored_file_has_the_users_ordinary_permissions(tmp_path: Path) -> None:
    """
    Not those of a temporary file: people share datasets.
    """
    mask = os.umask(0o022)
    try:
        path = put(LocalStore(tmp_path), b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "stem",
    [
        "",
        "/etc/x",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        ".",
        "..",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0b",
        "a b",
        "\u202egpj",
        "x" * 201,
        "a\n",
    ],
)
def test_a_stem_that_could_leave_the_folder_is_a_bug(tmp_path: Path, stem: str) -> None:
    """
    Names are the caller's, so a bad one is no outcome but an error of ours.
    """
    store = LocalStore(tmp_path)
    half = store.begin()
    with pytest.raises(ValueError, match="no plain relative name"):
        keep(store, half, stem, "png")
    half.discard()
    assert names(tmp_path) == set()


def test_room_is_what_is_free_for_us(tmp_path: Path) -> None:
    """
    Below the setting nothing more is bought.
    """
    store = LocalStore(tmp_path)
    assert store.has_room(1)
    assert not store.has_room(1 << 62)
    with pytest.raises(SinkError, match="gone"):
        LocalStore(tmp_path / "gone").has_room(1)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A tmpfs where that is allowed, else a limit on the size of files: both refuse the write."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()) == 0:
        try:
            yield
        finally:
            assert libc.umount2(str(folder).encode(), 2) == 0
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """
    The error names the path and the remedy; what was stored before stays.
    """
    with small_disk(tmp_path, 64 * 1024):
        store = LocalStore(tmp_path)
        put(store, b"x" * 4096, "first")
        with pytest.raises(SinkError, match=r"disk is full|ulimit -f") as caught:
            put(store, b"x" * 512 * 1024, "second")
        assert str(tmp_path) in str(caught.value)
        assert "run again" in str(caught.value)
        assert names(tmp_path) == {"images/first.png"}


def test_a_disk_that_is_full_already_is_told(tmp_path: Path) -> None:
    """
    /dev/full refuses each write as a full disk does, whoever we are.
    """
    half = LocalStore(tmp_path).begin()
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), half._open())
    with pytest.raises(SinkError, match="the disk is full: free some space"):
        half.write(b"little")
    half.discard()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("blocked", ["tmp", "images", "images/ab"])
def test_a_file_where_a_folder_must_be_is_told(tmp_path: Path, blocked: str) -> None:
    """
    The path and what to do about it.
    """
    path = tmp_path / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(SinkError, match="a file is where a folder must be") as caught:
        put(LocalStore(tmp_path), b"x")
    assert str(path) in str(caught.value)
    assert path.read_text() == "in the way"
    assert not any(name.endswith(".part") for name in names(tmp_path))


def test_a_folder_where_a_sidecar_must_be_is_told(tmp_path: Path) -> None:
    """
    The image is not kept without what it says of itself; nothing stays half written.
    """
    store, half = LocalStore(tmp_path), LocalStore(tmp_path).begin()
    (tmp_path / "images" / "job_0.json").mkdir(parents=True)
    (kept,) = store.keep([PendingFile(half, "job_0", "png", b"{}")])
    half.discard()

    assert isinstance(kept, SinkError)
    assert "job_0.json': a folder is where that file must be: move it away" in str(kept)
    with pytest.raises(SinkError, match="a folder is where that file must be"):
        store.discard("job_0")
    assert names(tmp_path) == set()


def test_a_dataset_below_a_file_is_told(tmp_path: Path) -> None:
    """
    `--out notes.txt/d` cannot be a dataset.
    """
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SinkError, match="choose another folder"):
        put(LocalStore(tmp_path / "notes.txt" / "d"), b"x")


def test_a_read_only_file_system_is_told() -> None:
    """
    /proc refuses files from everyone, root included.
    """
    with pytest.raises(SinkError, match="'/proc/tmp'"):
        LocalStore(Path("/proc")).begin()
