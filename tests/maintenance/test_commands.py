"""The three verbs as users meet them: processes, exit codes, words and JSON."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import KEY, Ended, fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_ROWS = 3


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process(dialect="docs") as running:  # which gives inputs back
        running.faults(any_auth=1)
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"a lighthouse, {n}", "control_image": "https://photos.invalid/1.jpg"}
        for n in range(_ROWS)
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "d"


def run(emulator: EmulatorProcess, out: Path, *more: object) -> Ended:
    return fluxbatch(*_run_words(emulator, out), *more)


def _run_words(emulator: EmulatorProcess, out: Path) -> tuple[object, ...]:
    return "run", out.parent / "m.jsonl", "--out", out, "--base-url", emulator.base_url


def leave_running(emulator: EmulatorProcess, out: Path) -> None:
    """A run that was killed while its predictions ran."""
    emulator.faults(prediction_stuck=1)
    with started(*_run_words(emulator, out)) as process:
        while _running(out) < _ROWS:
            assert process.poll() is None
        process.kill()


def _running(out: Path) -> int:
    try:
        with sqlite3.connect(f"file:{out / 'ledger.sqlite'}?mode=ro", uri=True) as connection:
            found = connection.execute("SELECT count(*) FROM predictions WHERE state = 'running'")
            return int(found.fetchone()[0])
    except sqlite3.Error:
        return 0


def buy_again(emulator: EmulatorProcess) -> str:
    """The first input once more, behind every ledger's back."""
    (first, *_) = emulator.predictions()
    body = json.dumps({"model": first["model"], "input": first["input"]}).encode()
    return str(_post(emulator, "prediction/", body)["predictionID"])


def _post(emulator: EmulatorProcess, path: str, body: bytes) -> dict[str, Any]:
    import urllib.request

    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{emulator.base_url}/{path}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def test_repair_finds_the_endpoint_and_the_files_by_itself(
    emulator: EmulatorProcess, out: Path
) -> None:
    """
    A folder is all it is given; the latest run knows the rest.
    """
    run(emulator, out)
    (image, *_) = sorted(p for p in (out / "images").iterdir() if p.suffix != ".json")
    image.unlink()
    billed = emulator.stats()["billed"]

    ended = fluxbatch("repair", out, "--json")

    assert ended.code == ended.object["exit"] == 0
    assert ended.object["images"] == {"fetched": 1, "left": 0}
    assert image.exists()
    assert emulator.stats()["billed"] == billed == _ROWS
    assert KEY not in ended.out + ended.err


def test_repair_in_words_and_without_a_key(emulator: EmulatorProcess, out: Path) -> None:
    """
    The missing file is named, and what to do about it.
    """
    run(emulator, out)
    (image, *_) = sorted(p for p in (out / "images").iterdir() if p.suffix != ".json")
    image.unlink()

    ended = fluxbatch("repair", out, env={"EACHLABS_API_KEY": ""})

    assert ended.code == 5
    assert f"images/{image.name}" in ended.out
    assert "no API key" in ended.err


def test_reconcile_names_an_orphan_and_adopts_it_on_request(
    emulator: EmulatorProcess, out: Path
) -> None:
    """
    Exit 8 with the command that takes it in, which then exits 0.
    """
    run(emulator, out)
    orphan = buy_again(emulator)

    found = fluxbatch("reconcile", out)
    adopted = fluxbatch("reconcile", out, "--adopt", "--json")

    assert found.code == 8
    assert orphan in found.out
    assert f"fluxbatch reconcile {out} --adopt" in found.out
    assert adopted.code == 0
    assert [one["prediction"] for one in adopted.object["orphans"]] == [orphan]
    assert KEY not in found.out + found.err + adopted.out + adopted.err


def test_reconcile_without_anything_to_say_is_one_line_and_the_cost(
    emulator: EmulatorProcess, out: Path
) -> None:
    """
    Silence is agreement.
    """
    run(emulator, out)

    ended = fluxbatch("reconcile", out)

    assert ended.code == 0
    agreed, cost = ended.out.splitlines()
    assert agreed.startswith("the ledger and the provider agree")
    assert cost == "  the dataset has cost $0.075"


def test_cancel_after_a_kill_stops_what_runs(emulator: EmulatorProcess, out: Path) -> None:
    """
    Nothing is billed, nothing runs any more, and the exit code says so.
    """
    leave_running(emulator, out)

    ended = fluxbatch("cancel", out, "--json")

    assert ended.code == 0
    assert ended.object["predictions"]["cancelled"] == _ROWS
    assert emulator.stats()["unfinished"] == emulator.stats()["billed"] == 0


def test_the_verbs_refuse_a_dataset_whose_run_goes_on(emulator: EmulatorProcess, out: Path) -> None:
    """
    Exit 6, naming the process; `status` is what may look meanwhile.
    """
    emulator.faults(prediction_stuck=1)
    with started(*_run_words(emulator, out)) as process:
        while _running(out) < _ROWS:
            assert process.poll() is None
        for verb in ("cancel", "reconcile", "repair"):
            ended = fluxbatch(verb, out)
            assert ended.code == 6
            assert f"pid {process.pid}" in ended.err


def test_one_interrupt_ends_the_waiting_and_still_tells(
    emulator: EmulatorProcess, out: Path
) -> None:
    """
    Exit 130 with the report; what runs is followed by the next one.
    """
    leave_running(emulator, out)
    emulator.faults(cancel_ignored=1)

    with started("cancel", out, "--json") as process:
        while emulator.stats()["cancels"] < _ROWS:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert json.loads(told.splitlines()[-1])["predictions"]["running"] == _ROWS


@pytest.mark.parametrize("verb", ["cancel", "reconcile", "repair"])
def test_a_folder_that_is_no_dataset_is_bad_usage(verb: str, tmp_path: Path) -> None:
    """
    Exit 2, and nothing is made there.
    """
    ended = fluxbatch(verb, tmp_path, "--json")

    assert ended.code == ended.object["exit"] == 2
    assert "is no dataset" in ended.err
    assert not (tmp_path / ".lock").exists()


def test_a_ledger_may_not_send_the_key_to_an_address_of_its_own(
    emulator: EmulatorProcess, out: Path
) -> None:
    """
    A dataset may come from somebody else: its endpoint has to be named by whoever has the key.
    """
    run(emulator, out)
    with sqlite3.connect(out / "ledger.sqlite") as connection:
        connection.execute(
            "UPDATE runs SET settings_json = replace(settings_json, ?, 'https://evil.invalid/v1')",
            (emulator.base_url,),
        )

    refused = fluxbatch("reconcile", out)
    named = fluxbatch("reconcile", out, "--base-url", emulator.base_url)

    assert (refused.code, named.code) == (2, 0)
    assert "https://evil.invalid/v1" in refused.err
