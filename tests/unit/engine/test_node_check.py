"""The check of a node before a worker starts there: what it lacks, in words without a secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fluxbatch._version import __version__
from fluxbatch.engine.placement.node_check import (
    NodeQuestion,
    check_node,
    leave_mark,
    sees_mark,
    take_mark,
)
from tests.support.postgres_server import PostgresServer


@pytest.fixture
def asked(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeQuestion:
    """Of a node that has everything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EACHLABS_API_KEY", "a-key-that-is-secret")
    monkeypatch.setenv("PGPASSWORD", "a-password-that-is-secret")
    monkeypatch.setenv("FLUXBATCH_SINK__STORE", f"file://{tmp_path}/images")
    (tmp_path / "images").mkdir()
    (tmp_path / "rows.csv").write_text("prompt,control_image\na rocket,a.png\n")
    out = f"{server.url}/pictures"
    return NodeQuestion(__version__, str(tmp_path), "rows.csv", "rows.csv", {}, out)


def test_a_node_that_has_everything_says_nothing_but_hashes(asked: NodeQuestion) -> None:
    state = check_node(asked)

    assert state.problems == ()
    assert set(state.digests) == {"rows.csv"}
    assert check_node(replace(asked, digests=state.digests)) == state
    assert "secret" not in repr(state)


def test_a_manifest_that_is_nowhere_is_named(asked: NodeQuestion) -> None:
    """
    Whoever asks has no such file either, and so nothing to compare.
    """
    nowhere = replace(asked, given="no.csv", source="no.csv")
    assert check_node(nowhere).problems == (
        "there is no file 'no.csv': copy it there, or correct its name",
    )
    assert (
        check_node(replace(asked, given="s3://rows/m.csv", source="s3://rows/m.csv")).problems == ()
    )


def test_another_file_of_that_name_is_named(asked: NodeQuestion, tmp_path: Path) -> None:
    here = check_node(asked)
    (tmp_path / "rows.csv").write_text("prompt,control_image\na balloon,a.png\n")

    (problem,) = check_node(replace(asked, digests=here.digests)).problems
    assert problem == "'rows.csv' is another file than where the run is from: copy it there"


def test_all_that_a_node_lacks_is_told_at_once(
    asked: NodeQuestion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A key, the database and the folder of the images.
    """
    monkeypatch.delenv("EACHLABS_API_KEY")
    (tmp_path / "images").rmdir()
    unreachable = replace(asked, out="postgresql://postgres@127.0.0.1:9/postgres/pictures")

    no_key, no_database, no_folder = check_node(unreachable).problems
    assert "EACHLABS_API_KEY" in no_key
    assert "refused" in no_database
    assert no_folder == (
        f"there is no folder '{tmp_path}/images' (sink.store): make it, or mount it"
    )
    assert "secret" not in no_database


def test_another_version_and_a_missing_folder_are_told_before_anything_is_read(
    asked: NodeQuestion,
) -> None:
    (version,) = check_node(replace(asked, version="0.0.1")).problems
    (folder,) = check_node(replace(asked, cwd="/nowhere")).problems

    assert version.startswith(f"fluxbatch {__version__} is installed, and 0.0.1 where the run is")
    assert folder.startswith("there is no folder '/nowhere'")


def test_a_mark_is_seen_in_the_same_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mark = leave_mark(str(tmp_path / "a"))

    assert sees_mark(str(tmp_path / "a"), mark)
    assert not sees_mark(str(tmp_path / "b"), mark)
    assert not sees_mark(str(tmp_path / "nowhere"), mark)
    take_mark(str(tmp_path / "a"), mark)
    assert list((tmp_path / "a").iterdir()) == []
