"""The verbs beside `run`, as processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import fluxbatch as package
from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import KEY, fluxbatch, started
from tests.support.emulator import EmulatorProcess


def test_version_and_an_unknown_verb() -> None:
    """
    Exit 0 with the version; exit 2 with a hint.
    """
    version, nonsense = fluxbatch("version"), fluxbatch("runn", "--json")

    assert (version.code, version.out.split()[:2]) == (0, ["fluxbatch", package.__version__])
    assert nonsense.code == nonsense.object["exit"] == 2
    assert "Did you mean 'run'?" in nonsense.err


def test_no_words_at_all_show_the_verbs() -> None:
    """
    Every verb of this issue, on lines of at most 80 columns.
    """
    ended = fluxbatch()

    assert ended.code == 0
    for verb in ("demo", "init", "plan", "run", "status", "retry", "keys", "emulator", "version"):
        assert f"\n  {verb} " in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 80


def test_a_plan_spends_nothing_and_needs_no_key(tmp_path: Path) -> None:
    """
    Nor does it contact anyone: there is no provider at this address.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 150)
    words = ("plan", manifest, "--base-url", "http://127.0.0.1:9/v1")
    env = {"EACHLABS_API_KEY": ""}
    told = fluxbatch(*words, "--json", env=env)
    read = fluxbatch(*words, "--budget", "1", env=env)

    assert (told.code, read.code) == (0, 0)
    assert told.object == {
        "jobs": {"total": 150, "new": 150, "done": 0, "changed": 0, "invalid": 0},
        "cost_usd": "3.75",
        "seconds": 150.0,
        "binding_limit": "slots",
        "notes": [],
    }
    assert "bound by 10 slots" in read.out
    assert "$1.00 per run: pays for 40 jobs" in read.out
    assert list(tmp_path.iterdir()) == [manifest]


def test_a_plan_with_bad_rows_lists_them_and_exits_two(tmp_path: Path) -> None:
    """
    What is good is counted all the same.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 30, guidance=101)
    ended = fluxbatch("plan", manifest, "--json")
    brief = fluxbatch("plan", manifest)

    assert ended.code == ended.object["exit"] == 2
    assert len(ended.object["bad_rows"]) == ended.object["jobs"]["invalid"] == 30
    assert "… and 10 more" in brief.err
    assert brief.err.splitlines()[-1].startswith("error: 30 rows of")


def test_a_plan_knows_what_a_dataset_has(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Done, new and changed against the dataset's ledger.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 3)
    run(emulator, manifest)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["prompt"] = "another"
    rows.append({**rows[1], "id": "r9", "prompt": "new"})
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))

    told = fluxbatch("plan", manifest, "--out", tmp_path / "d", "--json").object
    assert told["jobs"] == {"total": 4, "new": 1, "done": 2, "changed": 1, "invalid": 0}
    assert told["cost_usd"] == "0.05"


def test_status_tells_failures_and_retry_sends_them_back(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Reasons in words with their rows; `--kind` chooses; the next run buys only what went back.
    """
    emulator.faults(prediction_filtered={"chance": 1, "times": 2})
    manifest = write_manifest(tmp_path / "m.jsonl", 4)
    assert run(emulator, manifest).code == 3
    status = fluxbatch("status", tmp_path / "d")
    told = fluxbatch("status", tmp_path / "d", "--json").object
    none = fluxbatch("retry", tmp_path / "d", "--kind", "network", "--json")
    both = fluxbatch("retry", tmp_path / "d", "--kind", "filtered", "--json")

    assert "4 in all: 2 done, 2 failed" in status.out
    assert "2 filtered: the provider's moderation stopped it" in status.out
    (group,) = told["failures"]
    assert (group["class"], group["jobs"]) == ("filtered", 2)
    assert len(group["reasons"][0]["rows"]) == 2
    assert (none.object["retried"], both.object["retried"]) == (0, 2)
    assert fluxbatch("status", tmp_path / "d", "--json").object["jobs"]["pending"] == 2
    assert run(emulator, manifest).code == 0
    assert emulator.stats()["created"] == 6


def test_retry_refuses_what_is_no_class_and_no_dataset(tmp_path: Path) -> None:
    """
    Exit 2, naming the classes there are; no lock file is left behind.
    """
    kind = fluxbatch("retry", tmp_path, "--kind", "bad luck", "--json")
    place = fluxbatch("retry", tmp_path, "--json")

    assert (kind.code, place.code) == (2, 2)
    assert "filtered" in kind.object["error"]
    assert "is no dataset" in place.object["error"]
    assert list(tmp_path.glob(".lock")) == []


def test_status_of_no_dataset_is_an_error(tmp_path: Path) -> None:
    """
    Exit 2, as an object where one was asked for.
    """
    ended = fluxbatch("status", tmp_path, "--json")

    assert ended.code == ended.object["exit"] == 2


def test_keys_are_checked_and_never_shown(emulator: EmulatorProcess) -> None:
    """
    Exit 0 while one works, 5 when none does.
    """
    emulator.revoke("second-key-2")
    env = {"EACHLABS_API_KEYS": f"main={KEY},spare=second-key-2", "EACHLABS_API_KEY": ""}
    one = fluxbatch("keys", "--base-url", emulator.base_url, env=env)
    emulator.revoke(KEY)
    none = fluxbatch("keys", "--base-url", emulator.base_url, "--json", env=env)

    assert (one.code, none.code) == (0, 5)
    lines = one.out.splitlines()
    assert lines[1].startswith("main")
    assert lines[1].endswith("works")
    assert "refused" in lines[2]
    assert [key["works"] for key in none.object["keys"]] == [False, False]
    for ended in (one, none):
        assert KEY not in ended.out + ended.err


def test_what_init_writes_plans_and_runs_as_it_is(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    And a second `init` overwrites nothing.
    """
    first = fluxbatch("init", tmp_path / "batch")
    again = fluxbatch("init", tmp_path / "batch")
    config = tmp_path / "batch" / "fluxbatch.yaml"
    ran = run(emulator, config)

    assert (first.code, again.code, ran.code) == (0, 2, 0)
    assert "would be overwritten" in again.err
    assert ran.object["jobs"]["done"] == 3


def test_without_a_budget_a_person_is_asked_before_money_is_spent(tmp_path: Path) -> None:
    """
    At a terminal only; "n" ends with 2 and nothing was contacted.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 4)
    mine, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "fluxbatch",
        "run",
        str(manifest),
        "--out",
        str(tmp_path / "d"),
    ]
    with subprocess.Popen(
        [*command, "--base-url", "https://provider.invalid/v1"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "EACHLABS_API_KEY": KEY},
    ) as process:
        os.close(theirs)
        os.write(mine, b"n\n")
        assert process.wait(30) == 2
    said = os.read(mine, 65_536).decode()
    os.close(mine)

    assert "4 jobs will cost up to $0.10, and no budget is set" in said
    assert not (tmp_path / "d").exists()


def test_a_screen_reader_of_the_output_may_leave(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    `fluxbatch run … 2>&1 | head -1`: the run goes on to its end.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 12)
    words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url, "-v")
    with started(*words) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()
        process.stderr.close()
        process.stdout.close()

        assert process.wait(30) == 0
    assert emulator.stats()["billed"] == 12


def test_the_version_is_told_as_a_flag_too() -> None:
    """
    What most programs answer.
    """
    told = fluxbatch("--version")

    assert told.code == 0
    assert told.out == fluxbatch("version").out
    assert told.out.startswith("fluxbatch ")


def test_a_header_that_is_all_misspelt_gets_the_names_that_were_meant(tmp_path: Path) -> None:
    """
    It is a header all the same, not a first row of values.
    """
    manifest = tmp_path / "m.csv"
    manifest.write_text("propmt,control_imgae,sed\na,b,1\n")
    refused = fluxbatch("plan", manifest)

    assert refused.code == 2
    for meant in ("prompt", "control_image", "seed"):
        assert f"did you mean {meant!r}?" in refused.err


def test_a_broken_template_is_told_as_such(tmp_path: Path) -> None:
    """
    Not as an axis that no template names.
    """
    config = tmp_path / "c.yaml"
    config.write_text(
        "defaults: {prompt: 'a {{ style } cat', control_image: 'https://images.example.org/p.png'}\n"
        "sweep: {axes: {style: [woodcut, oil]}}\n"
    )
    refused = fluxbatch("plan", config)

    assert refused.code == 2
    assert "row 1, prompt: its template is no good: unexpected '}' in line 1" in refused.err
    assert "sweep.axes" not in refused.err


def test_a_folder_of_other_things_is_named_before_a_dataset_is_made_in_it(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Nothing in it is touched; the next run finds a dataset and says nothing.
    """
    out = tmp_path / "d"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    first, again = run(emulator, manifest), run(emulator, manifest)

    assert (first.code, again.code) == (0, 0)
    assert "is no dataset yet and has other files ('notes.txt')" in first.err
    assert "no dataset" not in again.err
    assert (out / "notes.txt").read_text() == "mine"


def test_a_prompt_of_a_megabyte_is_cut_where_people_read_and_whole_in_json(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    prompt = "a very long story " * 60_000
    manifest, out = tmp_path / "m.jsonl", tmp_path / "d"
    row = {"prompt": prompt, "control_image": "https://photos.invalid/a.jpg", "split": "dev-test"}
    manifest.write_text(json.dumps(row) + "\n")

    planned = fluxbatch("plan", manifest, "--base-url", emulator.base_url)
    ended = fluxbatch("run", manifest, "--out", out, "--base-url", emulator.base_url)
    assert (planned.code, ended.code) == (0, 0), ended.err
    for verb in ("show", "why"):
        told = fluxbatch(verb, out, "#1")
        assert (told.code, len(told.out) < 6_000) == (0, True), told.err
    (image,) = (out / "images").glob("*.webp")
    told = fluxbatch("show", image)
    assert (told.code, len(told.out) < 6_000) == (0, True), told.err

    assert f"({len(prompt):,} characters)" in planned.out
    assert fluxbatch("show", out, "#1", "--json").object["input"]["prompt"] == prompt


def test_what_no_export_could_take_is_in_the_plan_s_object(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    row = {"prompt": "x", "control_image": "https://photos.invalid/a.jpg", "split": "dev-test"}
    manifest.write_text(json.dumps(row) + "\n")
    (note,) = fluxbatch("plan", manifest, "--json").object["notes"]
    assert "dev-test" in note
