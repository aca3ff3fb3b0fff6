"""Links in the user's own folders: what they lead to, and that they do not lead out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from tests.support.commands import fluxbatch

ROWS = "id,prompt,control_image\n1,a,a.png\n"


def test_a_link_to_nothing_is_named_as_such(tmp_path: Path) -> None:
    """
    Programs that keep large files elsewhere leave such; the name itself is right.
    """
    (tmp_path / "m.csv").write_text(ROWS)
    (tmp_path / "a.png").symlink_to("nowhere")
    (tmp_path / "n.csv").symlink_to("gone")

    image = fluxbatch("plan", "m.csv", cwd=tmp_path)
    manifest = fluxbatch("plan", "n.csv", cwd=tmp_path)

    assert (image.code, manifest.code) == (2, 2)
    assert "is a link to 'nowhere', which is not there" in image.out + image.err
    assert "is a link to 'gone', which is not there" in manifest.err


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_wildcard_files_stay_below_their_folder(kind: str, tmp_path: Path) -> None:
    """
    A pack from elsewhere makes no prompts of the user's files.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "secret.txt").write_text("canary-line\n")
    (tmp_path / "pack").mkdir()
    if kind == "file":
        (tmp_path / "pack" / "colour.txt").symlink_to(tmp_path / "mine" / "secret.txt")
    else:
        (tmp_path / "pack" / "colour").symlink_to(tmp_path / "mine")
    (tmp_path / "m.csv").write_text("prompt,control_image\n__**__ cat,https://e.org/a.png\n")
    (tmp_path / "c.yaml").write_text(
        "manifest: m.csv\ntemplates: {wildcards: pack, inputs: {prompt: dynamic}}\n"
    )

    ended = fluxbatch("plan", "c.yaml", cwd=tmp_path)

    assert ended.code == 2, ended.out
    assert "canary-line" not in ended.out + ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_dataset_that_cannot_be_entered_is_named(tmp_path: Path) -> None:
    """
    In one plain line, as a usage error.
    """
    (tmp_path / "closed").mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        os.setgid(54321)
        os.setuid(54321)
        folder = Folder(tmp_path / "closed" / "x")
        try:
            assert folder.foreign_files() == []
            folder.make()
        except ConfigError as exc:
            os._exit(17 if "Permission denied" in str(exc) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
