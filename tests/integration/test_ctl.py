"""`fluxbatch ctl`: a run at work is paused, resumed, stopped, and its budget changed."""

from __future__ import annotations

import json
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from fluxbatch.dataset.control_client import control
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.infra.unix_socket import reachable
from tests.kills.killing import wait_for_creates
from tests.support.commands import fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_MANY = 1_000
"""More jobs than a slow machine makes while it is told something."""
_ENV = {"FLUXBATCH_SINK__MIN_FREE": "0", "FLUXBATCH_LIMITS__WINDOW": "6"}


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process("--speed", "10", "--image-size", "64", "--duration", "10") as running:
        yield running


@contextmanager
def at_work(
    emulator: EmulatorProcess, place: Path, jobs: int, *flags: str, slots: int = 10
) -> Iterator[Popen[str]]:
    """A run that has begun to buy, in the folder `d` of *place*."""
    place.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"a pier {n},https://example.com/{n}.png\n" for n in range(jobs))
    (place / "m.csv").write_text("prompt,control_image\n" + rows)
    words = ("run", place / "m.csv", "--out", place / "d", "--base-url", emulator.base_url)
    with started(
        *words, "--json", *flags, env={**_ENV, "FLUXBATCH_LIMITS__CONCURRENT": str(slots)}
    ) as run:
        wait_for_creates(emulator, 1)
        yield run


def ended(run: Popen[str]) -> dict[str, Any]:
    """The object that ends its stdout."""
    out, err = run.communicate(timeout=60)
    assert out, err
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


def test_a_paused_run_creates_nothing_until_it_is_resumed(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with at_work(emulator, tmp_path, _MANY) as run:
        paused = fluxbatch("ctl", tmp_path / "d", "pause", "--reason", "lunch", "--json")
        assert (paused.code, paused.object["changed"], paused.object["paused"]) == (0, True, True)
        before = emulator.stats()["created"]  # at once: the answer comes when nothing leaves
        again = fluxbatch("ctl", tmp_path / "d", "pause", "--json")
        assert not again.object["changed"]
        status = fluxbatch("status", tmp_path / "d")
        assert "paused: lunch" in status.out
        assert emulator.stats()["created"] == before < _MANY
        assert fluxbatch("ctl", tmp_path / "d", "resume", "--json").object["changed"]
        wait_for_creates(emulator, before + 1)
        assert fluxbatch("ctl", tmp_path / "d", "stop").code == 0
        assert ended(run)["exit"] == 4


def test_a_long_reason_is_one_short_line_in_status_and_whole_in_its_json(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Line ends and escapes are blanks by then.
    """
    reason = "too dark\n\x1b[31m" + "again " * 500
    with at_work(emulator, tmp_path, _MANY) as run:
        paused = fluxbatch("ctl", tmp_path / "d", "pause", "--reason", reason)
        shown = fluxbatch("status", tmp_path / "d").out
        (change,) = fluxbatch("status", tmp_path / "d", "--json").object["changes"]
        assert fluxbatch("ctl", tmp_path / "d", "stop", "--reason", reason).code == 0
        told = ended(run)
    assert paused.code == 0, paused.err
    assert "paused: too dark [31magain again" in shown
    assert max(map(len, shown.splitlines())) < 300
    assert (change["change"], change["reason"]) == ("paused", f"too dark [31m{'again ' * 500}"[:-1])
    assert told["exit"] == 4


def test_a_create_that_is_ready_when_the_run_is_paused_does_not_leave(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Twenty pauses in the thick of it: whatever was between its intent and its request is unsent,
    its money is free again, and every job is made once.
    """
    with at_work(emulator, tmp_path, 150) as run:
        for _ in range(20):
            control(Folder(tmp_path / "d"), "pause")
            control(Folder(tmp_path / "d"), "show")  # what left just before has arrived
            before = emulator.stats()["created"]
            control(Folder(tmp_path / "d"), "show")
            assert emulator.stats()["created"] == before
            control(Folder(tmp_path / "d"), "resume")
        told = ended(run)
    assert (told["exit"], told["jobs"]["done"]) == (0, 150)
    assert emulator.stats()["billed"] == 150


def test_more_slots_are_used_at_once_and_a_lane_that_is_off_creates_nothing(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Two slots become ten, so there must be more workers; off, the lane only ends what runs.
    """
    folder = Folder(tmp_path / "d")
    with at_work(emulator, tmp_path, 80, slots=2) as run:
        (lane,) = control(folder, "show")["lanes"]
        assert lane["slots"] == 2
        assert control(folder, "limits.slots", "10")["changed"]
        assert not control(folder, "limits.slots", "10")["changed"]
        while control(folder, "show")["lanes"][0]["slots_held"] < 9:
            assert run.poll() is None
        off = control(folder, "lane", f"{lane['label']} off", reason="too fast")
        control(folder, "show")
        before = emulator.stats()["created"]
        while control(folder, "show")["lanes"][0]["slots_held"]:
            assert run.poll() is None
        assert emulator.stats()["created"] == before < 80
        assert control(folder, "limits.creates", "90")["lanes"][0]["creates"] == 90
        assert control(folder, "lane", f"{lane['label']} on")["changed"]
        told = ended(run)
    assert off["lanes"][0]["health"] == "off"
    assert (told["exit"], told["jobs"]["done"]) == (0, 80)
    assert "off: too fast" in fluxbatch("status", tmp_path / "d").out


def test_a_run_is_stopped_with_a_reason(emulator: EmulatorProcess, tmp_path: Path) -> None:
    with at_work(emulator, tmp_path, _MANY) as run:
        dry = fluxbatch("ctl", tmp_path / "d", "stop", "--dry-run", "--json")
        assert dry.object["changed"]
        assert dry.object["stopping"] == ""
        stopped = fluxbatch("ctl", tmp_path / "d", "stop", "--reason", "they are too dark")
        assert stopped.code == 0
        told = ended(run)
    assert told["exit"] == 4
    assert "they are too dark" in fluxbatch("status", tmp_path / "d").out
    assert emulator.stats()["billed"] == told["jobs"]["done"] < _MANY


def test_a_lowered_budget_stops_and_a_raised_one_goes_on(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with at_work(emulator, tmp_path, 100, "--budget", "2.00") as run:
        # In this process: a command may take longer to start than twenty creates.
        lowered = control(Folder(tmp_path / "d"), "budget", "0.50")
        assert (lowered["changed"], lowered["budget_usd"]) == (True, "0.50")
        wait_for_creates(emulator, 20)
        assert control(Folder(tmp_path / "d"), "budget", "1.00")["changed"]
        assert ended(run)["exit"] == 4
    assert emulator.stats()["billed"] == 40


def test_a_budget_below_what_is_spent_stops_a_paused_run_as_well(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """At once, with exit 4: nothing has to ask for money first."""
    with at_work(emulator, tmp_path, _MANY) as run:
        fluxbatch("ctl", tmp_path / "d", "pause")
        lowered = fluxbatch("ctl", tmp_path / "d", "budget", "0.01", "--json").object
        assert (lowered["paused"], lowered["changed"]) == (True, True)
        assert "the budget of $0.01 per run has no room" in lowered["stopping"]
        told = ended(run)
    assert told["exit"] == 4
    assert emulator.stats()["billed"] == told["jobs"]["done"]


_REFUSED: Mapping[tuple[str, ...], str] = {
    ("budget", "much"): "budget 'much'",
    ("budget", "0x1"): "budget '0x1'",
    ("budget",): "takes an amount",
    ("pause", "1"): "takes no value",
    ("limits.slots", "many"): "whole number",
    ("lane", "nobody", "off"): "lane 'nobody off'",
    ("faster",): "'faster' is no command",
}


def test_what_cannot_be_done_is_refused_and_changes_nothing(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with at_work(emulator, tmp_path, _MANY):
        before = control(Folder(tmp_path / "d"), "show")
        for words, said in _REFUSED.items():
            refused = fluxbatch("ctl", tmp_path / "d", *words)
            assert refused.code == 2, words
            assert said in refused.err
        after = control(Folder(tmp_path / "d"), "show")
    for told in (before, after):
        assert not told["paused"]
        assert not told["stopping"]
    assert [lane["slots"] for lane in before["lanes"]] == [lane["slots"] for lane in after["lanes"]]


def test_why_of_a_job_names_what_kept_it_waiting(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    A pause and a lane that was off, with their times and reasons, and nothing of it for a job
    that was bought before; while they hold, what lets the run go on is the next step.
    """
    place = tmp_path / "d"
    with at_work(emulator, tmp_path, _MANY) as run:
        label = control(Folder(place), "show")["lanes"][0]["label"]
        assert fluxbatch("ctl", place, "pause", "--reason", "lunch").code == 0
        assert fluxbatch("ctl", place, "lane", label, "off", "--reason", "its key leaks").code == 0
        waiting = fluxbatch("why", place, f"#{_MANY}")
        while_paused = fluxbatch("why", place, f"#{_MANY}", "--json").object
        assert fluxbatch("ctl", place, "resume").code == 0
        assert fluxbatch("ctl", place, "lane", label, "on").code == 0
        assert fluxbatch("ctl", place, "budget", "0.01", "--reason", "enough").code == 0
        ended(run)
    assert "run         paused by `fluxbatch ctl`: nothing more is bought: lunch" in waiting.out
    assert f"run         lane {label} off by `fluxbatch ctl`" in waiting.out
    assert "its key leaks" in waiting.out
    assert f"fluxbatch ctl {place} resume: the run is paused since" in waiting.out
    assert f"fluxbatch ctl {place} lane {label} on: it is off since" in waiting.out
    paused, off = while_paused["history"]
    assert (paused["event"], paused["reason"]) == ("control: paused", "lunch")
    assert "2026" < paused["at"] < off["at"]
    after = fluxbatch("why", place, f"#{_MANY}")
    words = [line[21:] for line in after.out.splitlines() if line[21:].startswith("run ")]
    assert [line.removeprefix("run").partition(" by `")[0].strip() for line in words[:-1]] == [
        "paused",
        f"lane {label} off",
        "resumed",
        f"lane {label} on",
        "budget $0.01",
    ]
    assert "ended with exit 4: the budget of $0.01 per run has no room" in words[-1]
    assert "enough" in words[-2]
    assert "the same `fluxbatch run` again" in after.out
    bought_before = fluxbatch("why", place, "#1").out
    assert not [line for line in bought_before.splitlines() if line[21:].startswith("run ")]


def test_the_report_lists_what_was_changed(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Of each run, with the moment and the reason; the chart of money has the cap that holds.
    """
    place = tmp_path / "d"
    with at_work(emulator, tmp_path, 60) as run:
        fluxbatch("ctl", place, "pause", "--reason", "<b>lunch</b>")
        fluxbatch("ctl", place, "resume")
        fluxbatch("ctl", place, "budget", "7.50")
        assert ended(run)["exit"] == 0
    assert fluxbatch("report", place).code == 0
    page = (place / "report" / "index.html").read_text()
    listed = re.findall(r'<li><time datetime="([^"]+)">[^<]+</time> ([^<]*)</li>', page)
    assert [words for _, words in listed] == [
        "paused: &lt;b&gt;lunch&lt;/b&gt;",
        "resumed",
        "budget $7.50",
    ]
    assert sorted(listed) == listed
    assert "cap $7.50" in page


def test_a_dataset_without_a_run_is_told_so(tmp_path: Path) -> None:
    refused = fluxbatch("ctl", tmp_path, "show")
    assert refused.code == 2
    assert "no run is at work" in refused.err


def test_the_socket_is_its_owner_s_and_survives_whatever_is_sent(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    In a folder whose path is longer than a socket's address may be.
    """
    place = tmp_path / ("long" * 30)
    with at_work(emulator, place, _MANY) as run:
        folder = Folder(place / "d")
        assert stat.S_IMODE(folder.control.stat().st_mode) == 0o600
        for sent in (b"", b"\n", b"{}\n", b"[1]\n", b'{"command": 7}\n', b"\xff" * 9_000):
            with reachable(folder.control) as near, socket.socket(socket.AF_UNIX) as stream:
                stream.connect(near)
                stream.sendall(sent)
                stream.shutdown(socket.SHUT_WR)
                stream.settimeout(5)
                stream.recv(1_000)
        assert control(folder, "show")["changed"] is False
        assert control(folder, "stop")["changed"] is True
        assert ended(run)["exit"] == 4
    assert not folder.control.exists()
    with pytest.raises(ConfigError, match="no run is at work"):
        control(folder, "show")
