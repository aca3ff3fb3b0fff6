"""Atomic files: one that has its name is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fluxbatch.infra.atomic_file import AtomicFile, atomic_file


def test_a_file_gets_its_name_when_it_is_whole_and_replaces_what_had_it(tmp_path: Path) -> None:
    """
    Named by what is in it, with the time it was given; nothing else is left in the folder.
    """
    (tmp_path / "rows").write_bytes(b"older")
    with atomic_file(tmp_path) as half:
        half.write(b"one, ")
        half.write(b"two")
        assert (tmp_path / "rows").read_bytes() == b"older"
        half.commit(kept := tmp_path / "rows", mtime_s=1_000.0)

    assert (half.size, half.sha256) == (8, hashlib.sha256(b"one, two").hexdigest())
    assert kept.read_bytes() == b"one, two"
    assert kept.stat().st_mtime == 1_000.0
    assert list(tmp_path.iterdir()) == [kept]


def test_a_file_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    """
    Neither where its writer breaks off, nor where it thinks better of it.
    """
    with pytest.raises(TypeError), atomic_file(tmp_path) as half:
        half.write("no bytes")  # type: ignore[arg-type]
    with atomic_file(tmp_path) as half:
        half.write(b"one")

    assert list(tmp_path.iterdir()) == []


def test_blocks_of_any_size_lie_in_their_order(tmp_path: Path) -> None:
    """
    Small ones wait for more, and a large one overtakes none of them.
    """
    blocks = [b"a", b"b" * 7, b"c" * 9, b"", b"d", b"e" * 8, b"f" * 100]
    with AtomicFile(tmp_path / "part", buffer=8) as half:
        for block in blocks:
            half.write(block)
        with half.written() as file:
            assert file.read() == b"".join(blocks)
        half.commit(tmp_path / "whole", sync=False)

    assert (tmp_path / "whole").read_bytes() == b"".join(blocks)
    assert half.sha256 == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_a_finished_file_stays_where_it_is_with_the_mode_it_was_made_with(tmp_path: Path) -> None:
    """
    Nobody else may read a key, from its first byte on.
    """
    with AtomicFile(tmp_path / "key", mode=0o600, buffer=8) as half:
        half.write(b"secret")
        assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
        half.finish()

    assert (tmp_path / "key").read_bytes() == b"secret"


def test_a_file_in_the_way_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    """
    Whoever made it may still be at it.
    """
    (tmp_path / "part").write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        AtomicFile(tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b"another's"
