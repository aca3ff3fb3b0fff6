"""The message and the exit code of every exception."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from fluxbatch import errors
from fluxbatch.cli.arguments import FilledCommand, Interrupted
from fluxbatch.cli.console import Console
from fluxbatch.cli.errors import exit_code_of
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.errors import BadRow, ManifestError


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (errors.ConfigError("bad"), 2),
        (errors.HeldElsewhere("bad"), 6),
        (errors.SinkError("bad"), 1),
        (errors.LedgerError("bad"), 1),
        (errors.EndpointWrong("bad"), 1),
        (typer.BadParameter("bad"), 2),
        (typer.Abort(), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_exception_of_ours_is_one_line_and_its_own_exit_code(
    exc: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    No traceback: the message is written for the user.
    """
    assert exit_code_of(exc, Console()) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .+\n", err)


def test_a_verb_that_ctrl_c_ends_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """
    typer alone would end it with the code, and without a word.
    """
    app = typer.Typer()

    @app.command(cls=FilledCommand)
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as found:
        app([], standalone_mode=False)
    assert exit_code_of(found.value, Console()) == 130
    assert capsys.readouterr().err == "error: interrupted; run the same command to go on\n"


def test_bad_rows_are_listed_up_to_a_sensible_number(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Twenty are enough to see what is wrong; -v and --json have them all.
    """
    rows = [BadRow(n, n + 1, "guidance", f"'{n}00' is not a number from 0 to 100")
            for n in range(1, 31)]  # fmt: skip
    exc = ManifestError("30 rows cannot become jobs", rows)

    assert exit_code_of(exc, Console()) == 2
    brief = capsys.readouterr().err.splitlines()
    assert brief[0] == "  row 1 (line 2), guidance: '100' is not a number from 0 to 100"
    assert brief[-2:] == ["  … and 10 more (-v shows them)", "error: 30 rows cannot become jobs"]

    assert exit_code_of(exc, Console(["-v", "--json"])) == 2
    full = capsys.readouterr()
    assert len(full.err.splitlines()) == 31
    assert '"bad_rows": [{"row": 1, "line": 2, "field": "guidance"' in full.out


def test_a_bug_is_told_briefly_and_kept_in_a_file_without_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The screen gets a sentence, the file the traceback, neither the secret.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    console = Console()
    console.redact_key([ApiKey("sk-very-secret-1", label="main")])
    with pytest.raises(KeyError) as raised:
        raise KeyError("sk-very-secret-1")
    assert exit_code_of(raised.value, console) == 1

    err = capsys.readouterr().err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    assert "Nothing is lost" in err
    assert "Traceback" not in err
    assert "Traceback" in kept.read_text()
    assert "sk-very-secret-1" not in err + kept.read_text()


def test_whoever_asks_sees_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    By -v or FLUXBATCH_DEBUG.
    """
    monkeypatch.setenv("FLUXBATCH_DEBUG", "1")

    assert exit_code_of(ValueError("odd"), Console()) == 1
    assert "ValueError: odd" in capsys.readouterr().err
