"""The site of the documents: built as `make docs` builds it, and its checks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.plugins.venv import ROOT

pytestmark = pytest.mark.proof

BUILD = ROOT / "docs" / "site" / "build.py"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_is_built_without_a_warning_or_a_broken_link(tmp_path: Path) -> None:
    """
    Every page of the guide, every verb, every public name, and `llms.txt` are in it.
    """
    ended = subprocess.run(
        [sys.executable, BUILD, tmp_path], capture_output=True, text=True, check=False, cwd=ROOT
    )
    html = tmp_path / "html"

    assert (ended.returncode, ended.stderr) == (0, "")
    assert {path.stem for path in (ROOT / "docs" / "guide").glob("*.md")} == {
        path.stem for path in (html / "docs" / "guide").glob("*.html")
    }
    assert 'id="fluxbatch-run"' in (html / "reference" / "commands.html").read_text()
    python = (html / "reference" / "python.html").read_text()
    for name in ("api.dataset.Dataset.run", "dataset.new_image.NewImage.read", "events.RunEnded"):
        assert f'id="fluxbatch.{name}"' in python
    assert (html / "llms.txt").read_text().startswith("# fluxbatch\n\n> Batch image generation")
    assert "# Exit codes" in (html / "llms-full.txt").read_text()


def test_a_broken_link_of_the_site_is_found(build: ModuleType, tmp_path: Path) -> None:
    """
    A file, a place in a page and an image that are not there; what leads outside is left alone.
    """
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"><a href="b.html#gone"><a href="c.html"><img src="no.png">'
        '<a href="https://example.org/x"><a href="#top"><a id="top">'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">')

    assert list(build.broken_links(tmp_path)) == [
        "a.html: b.html#gone",
        "a.html: c.html",
        "a.html: no.png",
    ]


def test_a_broken_link_for_machines_is_found(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "llms.txt").write_text("- [a](a.md): one\n- [b](b.md)\n")
    (tmp_path / "a.md").write_text("a")

    assert list(build.broken_llms_links(tmp_path)) == ["llms.txt: b.md"]
