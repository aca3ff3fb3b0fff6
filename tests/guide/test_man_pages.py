"""The manual pages: made as `make man` makes them, and laid out by the real formatter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.venv import ROOT
from tests.unit.test_guide import ALL, long_flags

MAN = shutil.which("man")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the verb's full name, `fluxbatch` itself among them."""
    to = tmp_path_factory.mktemp("man")
    command = [sys.executable, str(ROOT / "docs" / "site" / "man_pages.py"), str(to)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=to)
    assert (ended.returncode, ended.stderr) == (0, "")
    return {name: to / "man1" / f"{name.replace(' ', '-')}.1" for name in ("fluxbatch", *ALL)}


def laid_out(page: Path) -> str:
    """What a reader sees, on one line; the formatter may complain of nothing."""
    assert MAN is not None
    env = {**os.environ, "MANWIDTH": "100", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(
        [MAN, "--warnings=w", "--no-hyphenation", "-l", page],
        capture_output=True, text=True, env=env, check=True,
    )  # fmt: skip
    assert ended.stderr == ""
    plain = re.sub("\x1b\\[[0-9;]*m|.\b", "", ended.stdout)
    return " ".join(plain.split())


def test_every_verb_has_a_page_and_there_is_no_other(pages: dict[str, Path]) -> None:
    folder = pages["fluxbatch"].parent

    assert sorted(folder.iterdir()) == sorted(pages.values())


@pytest.mark.skipif(MAN is None, reason="there is no man")
@pytest.mark.parametrize("verb", sorted(ALL))
def test_man_shows_a_verb_s_page_with_all_its_flags(pages: dict[str, Path], verb: str) -> None:
    shown = laid_out(pages[verb])

    assert f"NAME {verb.replace(' ', '-')} - " in shown
    for section in ("SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert section in shown
    for flag in long_flags(ALL[verb]):
        assert flag in shown
    for parameter in ALL[verb].params:
        assert " ".join((parameter.help or "").replace("…", "...").split()) in shown


@pytest.mark.skipif(MAN is None, reason="there is no man")
def test_the_page_of_all_names_every_verb_and_every_exit_code(pages: dict[str, Path]) -> None:
    shown = laid_out(pages["fluxbatch"])

    for verb in ALL:
        assert f" {verb} " in shown
    assert "7 creates whose outcome is unknown remain: reconcile" in shown


def test_the_pages_are_the_same_each_time(pages: dict[str, Path], tmp_path: Path) -> None:
    """
    No day and no machine is in them.
    """
    command = [sys.executable, str(ROOT / "docs" / "site" / "man_pages.py"), str(tmp_path)]
    subprocess.run(command, capture_output=True, check=True)

    for page in pages.values():
        assert (tmp_path / "man1" / page.name).read_bytes() == page.read_bytes()
