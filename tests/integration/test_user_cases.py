"""Small inputs that real users had, in `tests/cases/`: each `cmd` does what is right.

A case stands for a kind; the kind's own tests are beside the code that handles it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import KEY
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof

CASES = Path(__file__).parents[1] / "cases"


@dataclass(frozen=True, slots=True)
class Right:
    """What a case's command has to end in."""

    code: int = 0
    """Of the shell; `rc=` in its words is the program's where the shell does more."""
    bought: int = 0
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


RIGHT = {
    "comma-budget-flag": Right(2, 0, ("budget.per_run", "write it like 12.50"), ("150",)),
    "config-key-case": Right(
        2, 0, ("Manifest: no such setting; did you mean 'manifest'?", "(line 2)")
    ),
    "dotenv-utf16": Right(0, 0, ("rc=2", "'.env' is UTF-16; save it as UTF-8")),
    "empty-budget-flag": Right(2, 0, ("--budget is empty",)),
    "empty-out-flag": Right(0, 0, ("rc=2", "--out is empty"), ("ledger.sqlite", "images")),
    "excel-sep-line": Right(0, 0, ("2 rows", "a cat", "a dog")),
    "folder-tilde-name": Right(0, 0, ("1 row", "~x.png: ")),
    "ignored-struct-column": Right(0, 0, ("2 rows", "2 new")),
    "jsonl-named-json": Right(0, 0, ("rc=0", "2 rows"), ("cannot", "rc=2")),
    "nested-braces": Right(0, 0, ("3 new", '"red cat"', '"blue cat"', '"green cat"')),
    "no-home": Right(0, 2, ("rc=0", "there is no home folder")),
    "norway-axis": Right(0, 0, ('"a NO"', '"a SE"', '"a DK"'), ("False",)),
    "parquet-page-crc": Right(2, 0, ("CRC",), ("a bed cat",)),
    "proxy-socks": Right(0, 0, ("rc=2", "ALL_PROXY: socks5 proxies are not supported")),
    "split-name-late": Right(2, 1, ("note: split 'dev-test' (line 2)", "letters, digits and _")),
    "stdin-closed": Right(0, 2, ("rc=0",)),
    "stdout-closed": Right(0, 2, ()),
    "stdout-full": Right(0, 2, ("rc=0", "2 done")),
    "url-trailing-space": Right(0, 0, ('"control_image": "https://e.org/a.png"',), ("%20",)),
    "webdataset-late-id": Right(0, 7, ("num_rows: 7",)),
    "wildcard-pack-latin1": Right(0, 0, ("2 new", '"a red cat"', '"a blue cat"')),
    "yaml-budget-twice": Right(2, 0, ("'budget' stands twice, in lines 1 and 3",)),
    "api-keys-string": Right(0, 30, ("'ba7816'",)),
    "api-limit-text": Right(1, 0, ("limit",)),
    "api-numpy-seed": Right(0, 0, ("new=1",)),
    "api-unknown-keyword": Right(1, 0, ("budgt",)),
    "dangling-link": Right(2, 0, ("is a link to 'nowhere', which is not there",)),
    "deep-json": Right(0, 0, ("rc=2", "nested too deep")),
    "download-aws-chunked": Right(0, 2, ("rc=0", "2 done")),
    "download-gzip": Right(0, 2, ("rc=0", "2 done")),
    "huge-prompt-plan": Right(0, 0, ("rc=0", "short", "1 new")),
    "mpo-jpeg": Right(0, 1, ("1 new", "1 done")),
    "out-unenterable": Right(
        0, 0, ("rc=2", "cannot make the dataset 'closed/x': Permission denied")
    ),
    "output-url-space": Right(0, 2, ("rc=0", "2 done")),
    "pillow-warnings": Right(0, 0, ("1 new",), ("UserWarning", "site-packages")),
    "retry-after-epoch": Right(0, 2, ("rc=0", "2 done"), ("paused for 17",)),
}
_NEVER = ("Traceback", "unexpected ")


def test_every_case_has_its_right_outcome() -> None:
    """And no outcome stands without its case."""
    assert {path.parent.name for path in CASES.glob("*/cmd")} == set(RIGHT)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_case_ends_as_is_right(name: str, emulator: EmulatorProcess, tmp_path: Path) -> None:
    """By its exit code, what was bought, and what was said."""
    right = RIGHT[name]
    place = tmp_path / "case"
    shutil.copytree(CASES / name, place)
    tmp_path.chmod(0o755)
    place.chmod(0o777)  # another user's, in a case of its own
    if name == "no-home" and not _may_be_another_user():
        pytest.skip("this machine lets nobody be another user")

    ended = subprocess.run(
        ["bash", "./cmd"],
        cwd=place,
        env=_environment(emulator, tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )

    assert (ended.returncode, emulator.stats()["billed"]) == (right.code, right.bought), (
        ended.stdout
    )
    for words in right.says:
        assert words in ended.stdout
    # What a script of the user's does not catch, Python shows in its own way.
    for words in (*right.never, *(() if name.startswith("api-") else _NEVER)):
        assert words not in ended.stdout


def _environment(emulator: EmulatorProcess, place: Path) -> dict[str, str]:
    """With `fluxbatch` and `python` as this interpreter has them."""
    programs = place / "programs"
    programs.mkdir()
    for program, words in (("fluxbatch", "-m fluxbatch"), ("python", "")):
        path = programs / program
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        path.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "EACHLABS_API_KEY": KEY,
        "EACHLABS_BASE_URL": emulator.base_url,
        "HF_HOME": str(place / "cache"),
        "TMPDIR": "/tmp",
    }


def _may_be_another_user() -> bool:
    try:
        command = ["unshare", "-U", "--map-user=54321", "--map-group=54321", sys.executable, "-V"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False
