"""What is written, where, and what never is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fluxbatch.cli.talk import Talk
from fluxbatch.keys import ApiKey

_KEY = "sk-very-secret-1"


def test_no_stream_ever_shows_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Whatever way the words take, a key that is known comes out as its label.
    """
    talk = Talk(["--json"])
    talk.learn([ApiKey(_KEY, label="main")])
    talk.say(f"say {_KEY}")
    talk.data(f"data {_KEY}")
    talk.failed(f"failed {_KEY}", 1, {"more": [_KEY]})
    talk.show(f"show {_KEY}")
    talk.tell(f"tell {_KEY}")

    out, err = capsys.readouterr()
    assert _KEY not in out + err
    assert err.splitlines() == ["say <key main>", "error: failed <key main>", "tell <key main>"]


@pytest.mark.parametrize("value", [_KEY, f"a=other-key-9,main={_KEY}"])
def test_a_key_is_taken_out_before_the_keys_are_read(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The error that reading them raises may quote the environment.
    """
    monkeypatch.setenv("EACHLABS_API_KEYS", value)

    assert Talk().clean(f"bad: {_KEY}") == "bad: <key>"


def test_another_programs_control_characters_do_not_reach_the_terminal() -> None:
    """
    A provider's message cannot move the cursor or hide what follows.
    """
    assert Talk().clean("a\x1b[2Jb\x07c\u202ed\ne\tf") == "a [2Jb c d\ne\tf"


def test_quiet_silences_talk_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """
    -q is for progress.
    """
    talk = Talk()
    talk.quiet = True
    talk.say("progress")
    talk.tell("progress")
    talk.warn("trouble")

    assert capsys.readouterr() == ("", "trouble\n")


def test_a_failure_under_json_is_an_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A program reads one thing, whatever happened.
    """
    assert Talk(["run", "--json"]).failed("held", 6) == 6
    assert json.loads(capsys.readouterr().out) == {"exit": 6, "error": "held"}

    assert Talk(["run", "--", "--json"]).failed("held", 6) == 6
    assert capsys.readouterr().out == ""


def test_a_reader_that_went_away_is_no_error() -> None:
    """
    `fluxbatch … | head -1` ends with the command's own code and says nothing.
    """
    program = """
import sys
from fluxbatch.cli.talk import Talk
talk = Talk()
sys.stdin.readline()
for number in range(10000):
    talk.data("x" * 100)
talk.close()
sys.exit(3)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write("go\n")
        process.stdin.close()

        assert process.wait(20) == 3
        assert process.stderr.read() == ""


def test_a_terminal_without_unicode_loses_a_sign_and_nothing_else() -> None:
    """
    An ASCII locale is no reason to crash.
    """
    program = "from fluxbatch.cli.talk import Talk; Talk().data('a → b')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )

    assert ended.stdout == "a ? b\n"
