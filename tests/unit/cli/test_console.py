"""The console: what is written, where, and what never is."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import unicodedata

import pytest
import typer

from fluxbatch.cli.app import app
from fluxbatch.cli.console import Console
from fluxbatch.cli.options import console_for
from fluxbatch.config.api_keys import ApiKey

_KEY = "sk-very-secret-1"


def test_no_stream_ever_shows_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Whatever way the words take, a key that is known comes out as its label.
    """
    console = Console(["--json"])
    console.redact_key([ApiKey(_KEY, label="main")])
    console.info(f"say {_KEY}")
    console.print(f"data {_KEY}")
    console.failed(f"failed {_KEY}", 1, {"more": [_KEY]})
    console.answer(lambda: {"show": _KEY}, [])

    out, err = capsys.readouterr()
    assert _KEY not in out + err
    assert err.splitlines() == ["say <key main>", "error: failed <key main>"]


@pytest.mark.parametrize("value", [_KEY, f"a=other-key-9,main={_KEY}"])
def test_a_key_is_taken_out_before_the_keys_are_read(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The error that reading them raises may quote the environment.
    """
    monkeypatch.setenv("EACHLABS_API_KEYS", value)

    assert Console().redact(f"bad: {_KEY}") == "bad: <key>"


def test_a_short_key_is_taken_out_as_a_word_of_its_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A key that is a common word, as with an emulator, leaves other words whole.
    """
    monkeypatch.setenv("EACHLABS_API_KEY", "second")

    said = Console().redact("in 5 seconds: 'second' was refused (key=second), secondary")

    assert said == "in 5 seconds: '<key>' was refused (key=<key>), secondary"


def test_a_key_is_known_in_json_and_in_a_url() -> None:
    """
    Escaped it is no less a secret.
    """
    value = 'sk/very"secret'
    console = Console()
    console.redact_key([ApiKey(value, label="main")])

    assert console.redact(json.dumps({"a": value})) == '{"a": "<key main>"}'
    assert console.redact("?a=sk%2Fvery%22secret") == "?a=<key main>"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("GET https://me:pa55@example.org/x", "GET https://example.org/x"),
        (
            "https://b.example/k?X-Amz-Date=1&X-Amz-Signature=5ec3e7&X-Amz-Credential=AKIA%2F1",
            "https://b.example/k?X-Amz-Date=1&X-Amz-Signature=<secret>&X-Amz-Credential=<secret>",
        ),
        ("'https://b.example/k?token=5ec3e7'", "'https://b.example/k?token=<secret>'"),
        ("{'X-API-Key': '5ec3e7', 'a': 1}", "{'X-API-Key': '<secret>', 'a': 1}"),
        ("Authorization: Bearer 5ec3e7", "Authorization: Bearer <secret>"),
        ('{"webhook_secret": "5ec3e7"}', '{"webhook_secret": "<secret>"}'),
        (r"{\"webhook_secret\": \"5ec3e7\"}", r"{\"webhook_secret\": \"<secret>\"}"),
        (f"POST /hooks/12-1764000/{'5e' * 20}", "POST /hooks/12-1764000/<secret>"),
        (
            "postgresql://h/DB/N?sslkey=/home/me/key.pem&password=5ec3e7",
            "postgresql://h/DB/N?sslkey=/home/me/key.pem&password=<secret>",
        ),
        (
            f"id {'5e' * 20}, https://b.example/k?w=512",
            f"id {'5e' * 20}, https://b.example/k?w=512",
        ),
    ],
)
def test_credentials_in_urls_and_headers_are_taken_out(said: str, shown: str) -> None:
    """
    Their names stay, so that the words can be understood; what is no secret stays as it was.
    """
    assert Console().redact(said) == shown


def test_what_a_library_logs_is_redacted_too(capsys: pytest.CaptureFixture[str]) -> None:
    """
    There is one way to the terminal.
    """
    console = Console()
    console.redact_key([ApiKey(_KEY, label="main")])
    before = logging.lastResort
    console_for(typer.Context(typer.main.get_command(app), obj=console))
    try:
        assert logging.lastResort is not None
        said = logging.LogRecord("somebody", logging.WARNING, "", 0, "sent %s", (_KEY,), None)
        logging.lastResort.handle(said)
    finally:
        logging.lastResort = before

    assert capsys.readouterr().err == "somebody: sent <key main>\n"


def test_another_programs_control_characters_do_not_reach_the_terminal() -> None:
    """
    A provider's message cannot move the cursor or hide what follows.
    """
    assert Console().redact("a\x1b[2Jb\x07c\u202ed\ne\tf") == "a [2Jb c\\u202ed\ne\tf"


def test_nothing_that_hides_or_reorders_is_shown_as_it_is() -> None:
    """
    Every sign of Unicode's Cf, Co, Cs, Zl and Zp and every tag, as text and in JSON.
    """
    console = Console()
    signs = [chr(number) for number in range(0x110000)]
    hiding = [s for s in signs if unicodedata.category(s) in {"Cf", "Co", "Cs", "Zl", "Zp"}]
    hiding += [chr(number) for number in range(0xE0000, 0xE0080)]
    text = "a".join(hiding)

    shown = console.redact(text)

    assert not set(hiding) & set(shown)
    assert json.loads(f'"{shown}"') == json.loads(json.dumps(text))
    assert not set(hiding) & set(console.redact(json.dumps({"prompt": text}, ensure_ascii=False)))


def test_letters_of_every_script_and_whole_pictures_are_shown_as_they_are() -> None:
    """
    Marks that combine, wide signs, emoji.
    """
    for text in ("naïve", "日本語", "हिन्दी", "עברית", "العربية", "👍🏽", "é", "️"):
        assert Console().redact(text) == text


def test_quiet_silences_talk_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """
    -q is for progress.
    """
    console = Console()
    console.quiet = True
    console.info("progress")
    console.warn("trouble")

    assert capsys.readouterr() == ("", "trouble\n")


def test_a_failure_under_json_is_an_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A program reads one thing, whatever happened.
    """
    assert Console(["run", "--json"]).failed("held", 6) == 6
    assert json.loads(capsys.readouterr().out) == {"exit": 6, "error": "held"}

    assert Console(["run", "--", "--json"]).failed("held", 6) == 6
    assert capsys.readouterr().out == ""


def test_a_reader_that_went_away_is_no_error() -> None:
    """
    `fluxbatch … | head -1` ends with the command's own code and says nothing.
    """
    program = """
import sys
from fluxbatch.cli.console import Console
console = Console()
sys.stdin.readline()
for number in range(10000):
    console.print("x" * 100)
console.close()
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
    program = "from fluxbatch.cli.console import Console; Console().print('a → b')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )

    assert ended.stdout == "a ? b\n"
