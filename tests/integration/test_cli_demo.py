"""`fluxbatch demo`: what a newcomer sees first."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import fluxbatch
from tests.unit.planning.test_plan import remember

pytestmark = pytest.mark.proof


def _emulators(of: Path) -> list[int]:
    """Emulator processes whose working directory is *of*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            is_here = os.readlink(process / "cwd") == str(of)
        except OSError:
            continue
        if b"fluxbatch.emulator" in words and is_here:
            found.append(int(process.name))
    return found


def test_the_demo_makes_a_dozen_images_and_again_none(tmp_path: Path) -> None:
    """
    No key, no cost, no process left behind; it says where to look and what is next.
    """
    env = {"EACHLABS_API_KEY": "", "EACHLABS_BASE_URL": "https://provider.invalid/v1"}
    first = fluxbatch("demo", "--json", cwd=tmp_path, env=env)
    again = fluxbatch("demo", "--json", cwd=tmp_path, env=env)

    assert (first.code, again.code) == (0, 0), first.err + again.err
    files = sorted((tmp_path / "demo" / "images").iterdir())
    images = [path for path in files if path.suffix != ".json"]
    assert {path.with_suffix(".json") for path in images} == {*files} - {*images}
    assert len(images) == first.object["images"] == again.object["images"] >= 12
    for path in images:
        with Image.open(path) as image:
            image.load()
    assert again.object["cost_usd"]["run"] == "0.00"
    assert "nothing new was bought" in again.err
    assert re.search(r"^images +demo/images$", first.err, re.MULTILINE)
    assert "fluxbatch status demo" in first.err
    assert "fluxbatch init" in first.err
    assert _emulators(tmp_path) == []


def test_the_demo_leaves_other_datasets_alone(tmp_path: Path) -> None:
    """
    The emulator's pictures do not get into a folder that holds something else.
    """
    path = tmp_path / "m.jsonl"
    path.write_text('{"prompt": "a", "control_image": "https://photos.invalid/cat.png"}\n')
    remember(tmp_path / "d", path, "done")

    ended = fluxbatch("demo", "--out", tmp_path / "d", "--json")
    assert ended.code == ended.object["exit"] == 2
    assert "is another dataset" in ended.err
