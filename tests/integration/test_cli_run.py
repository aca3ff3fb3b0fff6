"""`fluxbatch run` as a process, against the emulator as a process."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.support.commands import KEY, Ended, fluxbatch, started
from tests.support.emulator import EmulatorProcess

PHOTOS = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos"


def write_manifest(path: Path, count: int, **more: object) -> Path:
    rows = [
        {"id": f"r{n}", "prompt": f"a lighthouse, {n}", "control_image": str(PHOTOS / "rocket.jpg")}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps({**row, **more}) + "\n" for row in rows))
    return path


def run(
    emulator: EmulatorProcess, manifest: Path, *more: object, env: dict[str, str] | None = None
) -> Ended:
    """`run … --out d` beside the manifest."""
    out = manifest.parent / "d"
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "--json", *more)
    return fluxbatch(*words, cwd=manifest.parent, env=env)


def test_the_same_command_twice_makes_everything_once(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 0 both times; ten rows more cost ten rows. The objects have exactly the pinned shape.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 12)
    first = run(emulator, manifest)
    again = run(emulator, manifest)
    more = run(emulator, write_manifest(manifest, 22))

    assert (first.code, again.code, more.code) == (0, 0, 0)
    told = first.object
    assert list(told) == ["run_id", "exit", "jobs", "images", "cost_usd", "seconds"]
    assert told["exit"] == 0
    assert told["jobs"] == {"total": 12, "done": 12, "failed": 0, "pending": 0, "unknown": 0}
    assert told["images"] == 12
    assert told["cost_usd"] == {"run": "0.30", "dataset": "0.30", "at_risk": "0.00"}
    assert again.object["cost_usd"] == {"run": "0.00", "dataset": "0.30", "at_risk": "0.00"}
    assert more.object["cost_usd"] == {"run": "0.25", "dataset": "0.55", "at_risk": "0.00"}
    assert "this dataset has cost $0.30 so far" in again.err.splitlines()[1]
    assert "nothing new was bought" in again.err
    assert emulator.stats()["billed"] == 22
    assert emulator.stats()["refused_rate"] == emulator.stats()["refused_concurrent"] == 0
    files = [path.suffix for path in (tmp_path / "d" / "images").iterdir()]
    assert (files.count(".webp"), files.count(".json"), len(files)) == (22, 22, 44)


def test_only_the_object_is_on_stdout(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Talk goes to stderr, plain and without colour where nobody watches.
    """
    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 2))

    assert len(ended.out.splitlines()) == 1
    assert "2 of 2 jobs done" in ended.err
    assert "\x1b" not in ended.err + ended.out
    quiet = run(emulator, tmp_path / "m.jsonl", "-q")
    assert quiet.err == ""


def test_a_budget_stops_before_the_first_create_it_has_no_room_for(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Ten cents are four executions; the end says what is left and what to do.
    """
    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 9), "--budget", "0.10")

    assert ended.code == ended.object["exit"] == 4
    assert emulator.stats()["billed"] == 4
    assert ended.object["jobs"]["pending"] == 5
    assert "5 left" in ended.err
    assert "a new run has a fresh cap (--budget)" in ended.err
    assert "--budget 0.10\n" in ended.err, "the next command, copied, is capped as this one was"


def test_a_limit_stops_after_so_many_creates(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Exit 4, and the next invocation goes on.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 5)

    assert run(emulator, manifest, "--limit", "3").code == 4
    assert emulator.stats()["created"] == 3
    assert run(emulator, manifest).code == 0
    assert emulator.stats()["created"] == 5


def test_bad_rows_are_all_named_and_nothing_is_spent(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 2 with line, field, value and what is allowed, for people and for programs.
    """
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "id,prompt,control_image,num_outputs\n"
        f"a,good,{PHOTOS}/rocket.jpg,1\n"
        f"b,,{PHOTOS}/rocket.jpg,9\n"
        "c,good,nowhere.png,1\n"
    )
    ended = run(emulator, manifest)

    assert ended.code == ended.object["exit"] == 2
    assert [(bad["line"], bad["field"]) for bad in ended.object["bad_rows"]] == [
        (3, "prompt"), (3, "num_outputs"), (4, "control_image"),
    ]  # fmt: skip
    assert "row 2 (line 3), num_outputs: '9' is not an integer from 1 to 4" in ended.err
    assert emulator.stats()["created"] == 0

    skipped = run(emulator, manifest, "--skip-invalid")
    assert skipped.code == 3
    assert skipped.object["jobs"] == {
        "total": 3, "done": 1, "failed": 2, "pending": 0, "unknown": 0,
    }  # fmt: skip
    assert "2 invalid: the row cannot become a job" in skipped.err


def test_failures_are_summed_up_with_their_reasons_and_rows(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 3; the summary names class, meaning, rows and what to run next.
    """
    emulator.faults(prediction_filtered={"chance": 1, "times": 2})
    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 5))

    assert ended.code == 3
    assert ended.object["jobs"]["failed"] == 2
    assert "2 filtered: the provider's moderation stopped it" in ended.err
    assert "fluxbatch retry" in ended.err


def test_a_key_that_is_refused_ends_with_five_and_is_never_shown(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Not on the streams, in the ledger, nor anywhere in the dataset.
    """
    emulator.revoke(KEY)
    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 3), "-v")

    assert ended.code == 5
    assert "once a key works: `fluxbatch keys`" in ended.err
    assert KEY not in ended.out + ended.err
    for path in (tmp_path / "d").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_dataset_in_use_is_refused_at_once_with_its_holder(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 6 for the second process; `status` works all the while.
    """
    emulator.faults(prediction_stuck=1)
    manifest = write_manifest(tmp_path / "m.jsonl", 2)
    words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url, "-v")
    with started(*words) as first:
        assert first.stderr is not None
        assert any(": running on " in line for line in first.stderr)
        second = run(emulator, manifest)
        status = fluxbatch("status", tmp_path / "d", "--json")

        assert second.code == second.object["exit"] == 6
        assert f"pid {first.pid}" in second.object["error"]
        assert status.object["jobs"]["by_state"]["active"] >= 1


def test_a_key_in_use_elsewhere_is_not_waited_for_on_request(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    `--no-wait` ends with 6 where another dataset's run has the key.
    """
    emulator.faults(prediction_stuck=1)
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    words = ("run", manifest, "--out", tmp_path / "other", "--base-url", emulator.base_url, "-v")
    with started(*words) as first:
        assert first.stderr is not None
        assert any(": running on " in line for line in first.stderr)

        assert run(emulator, manifest, "--no-wait").code == 6


def test_a_key_that_is_refused_takes_no_other_one_with_it(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Several uploads are under way with it, and each is refused.
    """
    emulator.revoke("gone")
    rows = [
        {"prompt": f"a lighthouse, {n}", "control_image": str(photo)}
        for n, photo in enumerate(sorted(PHOTOS.glob("*.jpg")))
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = {"EACHLABS_API_KEYS": f"old=gone,new={KEY}", "EACHLABS_API_KEY": ""}
    ended = run(emulator, manifest, env=keys)

    assert ended.code == 0, ended.err
    assert ended.object["jobs"]["done"] == len(rows) > 1


def test_a_job_that_waits_is_said_to_be_bought_by_the_run_at_work(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Nobody has to run anything for it; once the run is gone, somebody has.
    """
    emulator.faults(prediction_stuck=1)
    manifest, out = write_manifest(tmp_path / "m.jsonl", 12), tmp_path / "d"
    words = ("run", manifest, "--out", out, "--base-url", emulator.base_url, "-v")
    with started(*words) as working:
        assert working.stderr is not None
        assert any(": running on " in line for line in working.stderr)
        meanwhile = fluxbatch("why", out, "#12")
    after = fluxbatch("why", out, "#12")

    assert "nothing: the run at work buys it" in meanwhile.out
    assert "the same `fluxbatch run` again: buys it" in after.out


def test_who_has_another_key_says_that_it_goes_on_without_the_one_in_use(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Nothing is waited for, and nothing says so.
    """
    emulator.faults(prediction_stuck=1)
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    words = ("run", manifest, "--out", tmp_path / "other", "--base-url", emulator.base_url, "-v")
    with started(*words) as first:
        assert first.stderr is not None
        assert any(": running on " in line for line in first.stderr)
        emulator.faults(prediction_stuck=0)

        keys = f"shared={KEY},mine={KEY}-2"
        ended = run(emulator, manifest, env={"EACHLABS_API_KEYS": keys, "EACHLABS_API_KEY": ""})

    assert ended.code == 0
    assert "goes on without 'shared': the key is in use by dataset" in ended.err
    assert "waiting for it" not in ended.err


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_finishes_what_runs_and_the_next_run_goes_on(
    sign: signal.Signals, code: int, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The first signal buys no more; what was bought is fetched; nothing is bought twice.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 24)
    words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url, "-v")
    with started(*words, "--json", env={"FLUXBATCH_LIMITS__CONCURRENT": "2"}) as process:
        assert process.stderr is not None
        assert any(": running on " in line for line in process.stderr)
        process.send_signal(sign)
        out, err = process.communicate(timeout=30)

    told = json.loads(out.splitlines()[-1])
    assert process.returncode == told["exit"] == code
    assert "finishing what runs" in err
    assert told["jobs"]["done"] == emulator.stats()["created"] < 24
    assert run(emulator, manifest).code == 0
    assert emulator.stats()["created"] == 24
    assert emulator.stats()["double_billed"] == 0


def test_a_config_and_its_flags(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    The file names the manifest beside it; environment goes over the file, flags over both.
    """
    write_manifest(tmp_path / "m.jsonl", 6)
    config = tmp_path / "c.yaml"
    config.write_text("manifest: m.jsonl\nbudget: {per_run: 5}\n")
    by_file = run(emulator, config, "--limit", "1")
    env = {"FLUXBATCH_BUDGET__PER_RUN": "0.05"}
    by_env = run(emulator, config, env=env)
    by_flag = run(emulator, config, "--budget", "0.025", env=env)

    assert (by_file.code, by_env.code, by_flag.code) == (4, 4, 4)
    assert by_env.object["cost_usd"]["run"] == "0.05"
    assert by_flag.object["cost_usd"]["run"] == "0.025"


def test_views_and_ledger_are_readable_beside_a_run(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The summary names the ledger; any SQLite tool reads its views.
    """
    ended = run(emulator, write_manifest(tmp_path / "m.jsonl", 2, **{"meta.set": "x"}))
    assert "views: results, costs, failures" in ended.err

    with sqlite3.connect(f"file:{tmp_path}/d/ledger.sqlite?mode=ro", uri=True) as ledger:
        rows = ledger.execute("SELECT id, status, cost_usd FROM results ORDER BY id").fetchall()
    ledger.close()
    assert rows == [("r0", "done", 0.025), ("r1", "done", 0.025)]
