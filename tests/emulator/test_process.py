"""The emulator as a process: one line on stdout, the contract on a port, a quiet end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxbatch.emulator.settings import parse_image_size, parse_keys

_LINE = re.compile(r"fluxbatch emulator listening on (http://127\.0\.0\.1:\d+)/v1\n")


@contextmanager
def _running(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "fluxbatch.emulator", "--port", "0", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = _LINE.fullmatch(process.stdout.readline())
            assert line is not None
            yield process, line[1]
        finally:
            process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_quietly(sign: signal.Signals) -> None:
    """
    Exit 0, nothing on stderr, nothing more on stdout.
    """
    with _running("--speed", "10") as (process, base):
        with urllib.request.urlopen(f"{base}/v1/model?slug=flux-depth-dev") as answer:
            assert json.load(answer)["slug"] == "flux-depth-dev"
        process.send_signal(sign)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out, err) == (0, "", "")


def test_every_pinned_flag_is_taken() -> None:
    """
    Keys, dialect and limits as given.
    """
    pinned = "--duration 1 --sigma 0 --latency 0 --jitter 0 --speed 2 --image-size 64x32 --seed 3"
    pinned += " --dialect docs --keys a,b:team --rate 1 --window 6 --concurrent 2"
    with _running(*pinned.split()) as (_, base):
        with urllib.request.urlopen(f"{base}/_emulator/limits") as answer:
            assert json.load(answer) == {"rate": 1, "window": 6.0, "concurrent": 2}
        request = urllib.request.Request(
            f"{base}/v1/executions", headers={"Authorization": "Bearer b"}
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["executions"] == []


@pytest.mark.parametrize("flags", [["--dialect", "old"], ["--image-size", "big"], ["--speed", "0"]])
def test_a_wrong_flag_is_a_usage_error(flags: list[str]) -> None:
    """
    Exit 2, as everywhere.
    """
    command = [sys.executable, "-m", "fluxbatch.emulator", *flags]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=30)

    assert ended.returncode == 2


def test_a_port_in_use_is_said_in_one_line() -> None:
    """
    Exit 1 and no traceback.
    """
    with _running() as (_, base):
        command = [sys.executable, "-m", "fluxbatch.emulator", "--port", base.rpartition(":")[2]]
        ended = subprocess.run(command, capture_output=True, check=False, timeout=30, text=True)

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert "Traceback" not in ended.stderr


def test_keys_and_sizes_are_read() -> None:
    """
    A key without a colon is its own account; one number is a square.
    """
    assert parse_keys("a, b:team,c:team") == (("a", "a"), ("b", "team"), ("c", "team"))
    assert parse_keys("") == ()
    assert parse_image_size("") is None
    assert parse_image_size("64") == (64, 64)
    assert parse_image_size("64x32") == (64, 32)
    with pytest.raises(ValueError, match="9999999"):
        parse_image_size("9999999")


def test_the_command_line_costs_no_heavy_import() -> None:
    """
    `fluxbatch --help` mounts the command; aiohttp and Pillow wait until it runs.
    """
    heavy = "import sys, fluxbatch.emulator.command;"
    heavy += "print([m for m in ('aiohttp', 'PIL', 'anyio') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=True)

    assert ended.stdout == b"[]\n"


def test_the_emulator_imports_nothing_of_the_engine() -> None:
    """
    Not even its money: a shared mistake would be invisible.
    """
    folder = Path(__file__).parents[2] / "fluxbatch" / "emulator"
    for path in folder.glob("*.py"):
        for module in re.findall(r"(?:from|import) (fluxbatch[\w.]*)", path.read_text()):
            assert module.startswith("fluxbatch.emulator"), (path, module)
