"""The folder of lane files, on machines without a usable home."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fluxbatch.scheduler.state_folder import lanes_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_the_users_state_folder_is_taken_without_a_word(tmp_path: Path) -> None:
    """As a rule."""
    place, said = lanes_folder(tmp_path / "d")
    assert place == tmp_path / "state" / "fluxbatch" / "lanes"
    assert place.is_dir()
    assert not said


@pytest.mark.parametrize("state", ["/proc/none", "/dev/null/none"])
def test_one_that_cannot_be_written_is_replaced_by_one_all_datasets_share(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Readable by its owner alone, and said."""
    monkeypatch.setenv("XDG_STATE_HOME", state)
    place, said = lanes_folder(tmp_path / "d")
    assert lanes_folder(tmp_path / "other") == (place, said)
    assert place.parent.parent == temporary
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert state in said
    assert str(place) in said


def test_a_folder_that_somebody_put_there_is_not_trusted(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset itself is the last resort."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    first, _ = lanes_folder(tmp_path / "d")
    first.rmdir()
    first.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    first.parent.symlink_to(tmp_path / "elsewhere")
    place, _ = lanes_folder(tmp_path / "d")
    assert place == tmp_path / "d" / "lanes"
    assert not list((tmp_path / "elsewhere").iterdir())
