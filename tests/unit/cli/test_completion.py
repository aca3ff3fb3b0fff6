"""Completion by a real bash: what it is offered for values, and what it never is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.export.formats import EXPORT_FORMATS
from fluxbatch.ledger.queries.runs_and_failures import latest_runs
from tests.export.made import made_dataset, row

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")
HOSTILE = ("$(touch pwned)", "two words", "`id`", "esc\x1b[31m", "-rf", "semi;colon")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `d` and the command `fluxbatch`."""
    folder = tmp_path_factory.mktemp("completion")
    ids = ["cat-1", "cat-2", "dog", *HOSTILE]
    with made_dataset(folder / "d", [row(n, name) for n, name in enumerate(ids, 1)]):
        pass
    command = folder / "bin" / "fluxbatch"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fluxbatch "$@"\n')
    command.chmod(0o755)
    return folder


def offered(place: Path, *line: str) -> list[str]:
    """What bash would offer at the end of *line*, whose last word is unfinished."""
    words = " ".join(shlex.quote(word) for word in line)
    script = f"""
        eval "$(_FLUXBATCH_COMPLETE=source_bash fluxbatch)"
        COMP_WORDS=({words}); COMP_CWORD=$(({len(line)} - 1))
        _fluxbatch_completion fluxbatch
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert BASH is not None
    env = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [BASH, "--norc", "-c", script], cwd=place, env=env, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["export", "d", "--format", ""], list(EXPORT_FORMATS)),
        (["export", "d", "--format", "p"], ["parquet"]),
        (["push", "d", "hf://x", "--format", "im"], ["imagefolder"]),
        (["run", "m", "--format", "t"], ["tsv", "toml"]),
        (["run", "m", "--log-format", ""], ["text", "json"]),
        (["models", "flux-d"], ["flux-depth-dev"]),
        (["retry", "d", "--kind", "out"], ["output_lost"]),
        (["retry", "d", "--quality", "b"], ["black"]),
        (["costs", "d", "--by", "a"], ["axis:"]),
        (["ctl", "d", "limits."], ["limits.creates", "limits.slots"]),
        (["emulator", "--dialect", ""], ["card", "docs"]),
        (["show", "d", "cat"], ["cat-1", "cat-2"]),
        (["why", "d", "do"], ["dog"]),
        (["rate", "d", "k"], ["keep"]),
        (["ls", "d", "--where", "rati"], ["rating", "rating_note"]),
        (["ls", "d", "--where", '"state=f'], ["state=failed"]),
    ],
)
def test_a_value_that_is_one_of_a_few_is_offered(
    place: Path, line: list[str], expected: list[str]
) -> None:
    assert offered(place, "fluxbatch", *line) == expected


def test_a_state_is_offered_where_a_filter_asks_for_one(place: Path) -> None:
    states = [f"state={state}" for state in (*JobState, "invalid")]

    assert offered(place, "fluxbatch", "ls", "d", "--where", "state=") == states
    assert len(offered(place, "fluxbatch", "retry", "d", "--kind", "")) == len(FailureClass)


def test_runs_are_offered_by_name(place: Path) -> None:
    from fluxbatch.dataset.folder import Folder

    with Folder(place / "d").reader() as db:
        names = [run.run_id for run in latest_runs(db, 5, [])]

    assert len(names) > 0
    assert offered(place, "fluxbatch", "run", "m", "--out", "d", "--run", "") == names


def test_an_id_that_is_no_plain_word_is_offered_by_its_row_s_number(place: Path) -> None:
    """
    What is offered is a keystroke away from being run, and a stranger may have written it.
    """
    numbers = [str(number) for number in range(4, 4 + len(HOSTILE))]

    assert offered(place, "fluxbatch", "show", "d", "") == ["cat-1", "cat-2", "dog", *numbers]
    assert offered(place, "fluxbatch", "show", "d", "two") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["show", "nowhere", ""], []),
        (["ctl", "''", "p"], ["pause"]),
        (["run", "--bogus", ""], []),
        (["show", "postgresql://nobody:secret@127.0.0.1:1/a/b", ""], []),
    ],
)
def test_where_nothing_can_be_looked_up_nothing_is_said(
    place: Path, line: list[str], expected: list[str]
) -> None:
    """
    An error in the middle of a line that is being typed would be worse than none.
    """
    assert offered(place, "fluxbatch", *line) == expected
