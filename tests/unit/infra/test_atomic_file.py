"""Atomic files: one that has its name is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fluxbatch.infra.atomic_file import atomic_file


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
