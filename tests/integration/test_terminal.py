"""The live screen as a user sees it: on a real terminal, during a run, after a kill, with
failures."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from wcwidth import wcswidth

from tests.support.commands import KEY, fluxbatch
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.terminal import Terminal, on_terminal

pytestmark = [pytest.mark.proof, pytest.mark.flaky(reruns=1)]  # real time is looked at

_JOBS = 60
_COUNT = re.compile(r"([\d,]+) (done|failed|running|fetching|waiting|unknown)")
_GAUGES = ("creates", "slots", "budget", "money", "time")
_FAULTS = {
    "prediction_filtered": 0.2,
    "create_400": 0.1,
    "create_500_after": {"chance": 1, "times": 2},
    "create_429_rate": {"chance": 1, "times": 2},
}


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process("--speed", "3", "--image-size", "64", "--window", "180") as running:
        yield running


@pytest.fixture
def command(tmp_path: Path, emulator: EmulatorProcess) -> list[object]:
    """A run of sixty jobs whose ids and prompts are wide, under a cap."""
    rows = [
        {"id": f"灯台-🏮-{n}", "prompt": f"절경 {n} " + "長い" * 60, "control_image":
         "https://photos.invalid/lighthouse.jpg"} for n in range(_JOBS)
    ]  # fmt: skip
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    words = ["run", manifest, "--out", tmp_path / "d", "--budget", "1.50"]
    return [*words, "--base-url", emulator.base_url]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_it_is_in_order_during_a_run_after_a_kill_and_at_the_end(
    columns: int, rows: int, command: list[object], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The first frame after the kill has what the ledger has; the end leaves no frame and a cursor.
    """
    emulator.faults(**_FAULTS)
    size = {"columns": columns, "rows": rows, "env": {"XDG_STATE_HOME": str(tmp_path / "state")}}
    with on_terminal(*command, **size) as seen:  # type: ignore[arg-type]
        seen.wait_for(lambda text: "lately" in text and _has_some(text, done=3, failed=2))
        _assert_in_order(seen)
        assert "safety" in seen.text or "the provider answered 400" in seen.text
        assert seen.screen.cursor.hidden
        seen.process.send_signal(signal.SIGKILL)
        seen.finish()

    assert "was killed; to be continued" in fluxbatch("status", tmp_path / "d").out
    kept = _jobs(tmp_path / "d")
    with on_terminal(*command, **size) as seen:  # type: ignore[arg-type]
        first = seen.wait_for("time ")
        _assert_in_order(seen)
        counts = _counts(first)
        assert counts["done"] >= kept["done"] > 0
        assert counts["failed"] >= kept["failed"] > 0
        assert counts["done"] + counts["failed"] <= kept["done"] + kept["failed"] + 10
        assert "$0.00 spent" not in first
        assert "  0 %" not in first
        assert re.search(r"slots +[━─]+ +[1-9]\d? of 10", first), "what runs holds its slots"
        assert re.search(r"failed    灯台-🏮-\d+ ", first)
        seen.process.send_signal(signal.SIGINT)
        seen.wait_for("finishing what runs")
        _assert_in_order(seen)
        seen.finish()
        assert not seen.screen.cursor.hidden
        assert "━" not in seen.text + str(seen.screen.history.top)
        said = seen.drawn.decode()  # some of it may have scrolled out of 24 rows
        for words in ("interrupted", "\nimages", "goes on with"):
            assert words in said


def test_a_terminal_that_changes_its_size_shows_one_frame(
    command: list[object], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Smaller than the frame, narrow, wide: whatever the size, each line is there once.
    """
    emulator.faults(**_FAULTS)
    with on_terminal(*command, env={"XDG_STATE_HOME": str(tmp_path / "state")}) as seen:
        seen.wait_for("time ")
        for columns, rows in ((40, 24), (200, 50), (80, 10), (80, 24)):
            seen.resize(columns, rows)
            before = len(seen.drawn)
            seen.wait_for(lambda text, n=before: len(seen.drawn) > n and "time  " in text)  # type: ignore[misc]
            _assert_in_order(seen)


def test_a_watcher_sees_the_same(
    command: list[object], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Counts, limits, money and the last failures, from the ledger alone.
    """
    emulator.faults(**_FAULTS)
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with on_terminal(*command, env=env) as running:
        running.wait_for(lambda text: _has_some(text, done=1, failed=1))
        with on_terminal("watch", tmp_path / "d") as seen:
            seen.wait_for("failed    灯台")
            _assert_in_order(seen)
            assert re.search(r"creates +[━─]+ +[1-9]\d? of 100", seen.text)
            told = fluxbatch("status", tmp_path / "d").out
            assert ", goes on" in told
            assert f"next      fluxbatch watch {tmp_path / 'd'}" in told
            assert "working" not in seen.text, "a lane's health is the run's own knowledge"


def test_every_lane_says_how_it_is(
    command: list[object], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Of two keys one is refused: it is out, and the other works on.
    """
    env = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "EACHLABS_API_KEYS": "north=sk-north-5511aa,south=sk-south-5511bb",
        "EACHLABS_API_KEY": "",
    }
    with on_terminal(*command, env=env) as seen:
        seen.wait_for("south")
        emulator.revoke("sk-south-5511bb")
        text = seen.wait_for(lambda text: re.search(r"south +out", text) is not None)
        _assert_in_order(seen)
        assert re.search(r"north +working +\d+/10 slots +\d+/100 creates", text)
        assert "sk-" not in seen.drawn.decode()


@pytest.mark.parametrize(
    ("env", "absent"),
    [({"NO_COLOR": "1"}, r"\x1b\[[0-9;]*3[0-7]m"), ({"TERM": "dumb"}, r"\x1b|━")],
)
def test_who_wants_no_colour_or_has_a_dumb_terminal_gets_none(
    env: Mapping[str, str], absent: str, command: list[object], tmp_path: Path
) -> None:
    """
    NO_COLOR keeps the screen and takes the colours; TERM=dumb has plain lines.
    """
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with on_terminal(*command, "--limit", "3", env={**state, **env}) as seen:
        assert seen.finish() == 4
    assert re.search(absent, seen.drawn.decode()) is None
    assert "3 of 60 jobs done" in seen.text


def _jobs(folder: Path) -> dict[str, int]:
    """What the ledger says of the jobs."""
    told: dict[str, int] = json.loads(fluxbatch("status", folder, "--json").out)["jobs"]
    return told


def _counts(text: str) -> dict[str, int]:
    """The states on the screen; nothing where there is none yet."""
    lines = text.splitlines()
    at = [number for number, line in enumerate(lines) if f"of {_JOBS} jobs  " in line]
    if not at:
        return {}
    found = _COUNT.findall(" ".join(lines[at[0] + 1 : at[0] + 4]))
    return {state: int(number.replace(",", "")) for number, state in found}


def _has_some(text: str, **least: int) -> bool:
    counts = _counts(text)
    return all(counts.get(state, 0) >= number for state, number in least.items())


def _assert_in_order(seen: Terminal) -> None:
    """One frame, whole, nothing wrapped, and its states sum up."""
    lines, text = seen.lines, seen.text
    assert max(wcswidth(line) for line in lines) <= seen.screen.columns, text
    for label in ("fluxbatch  ", *_GAUGES):
        assert len([line for line in lines if line.startswith(label)]) == 1, f"{label}:\n{text}"
    order = [line.split()[0] for line in lines if line.startswith(_GAUGES)]
    assert order == list(_GAUGES), text
    assert len(re.findall(rf"[━─]+ +\d+ of {_JOBS} jobs +\d+ %$", text, re.MULTILINE)) == 1, text
    counts = _counts(text)
    assert sum(counts.values()) == _JOBS, text
    assert KEY not in seen.drawn.decode()


@pytest.mark.parametrize("words", [("plan", "m.jsonl"), ("models", "flux-depth-dev")])
def test_tables_fit_a_terminal(
    words: tuple[str, str], command: list[object], tmp_path: Path
) -> None:
    """
    Eighty columns are enough for both; what is longer goes on in the next line.
    """
    where = tmp_path / words[1] if "." in words[1] else words[1]
    with on_terminal(words[0], where) as seen:
        assert seen.finish() == 0
    lines = seen.drawn.decode().replace("\r", "").splitlines()
    assert len(lines) > 5
    assert max(wcswidth(line) for line in lines if "/" not in line) <= 80
