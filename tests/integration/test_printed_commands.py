"""The commands that verbs print for a dataset whose name a shell would take apart, pasted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.integration.test_cli_run import write_manifest
from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess
from tests.support.printed_commands import dataset_in, printed_commands

D = "Kim's $x pictures"


class Session:
    """What somebody types in one folder, and what they read."""

    def __init__(self, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._cwd = cwd
        self._env = {"FLUXBATCH_SINK__MIN_FREE": "0", **(env or {})}
        self.last = Ended(0, "", "")

    def type(self, *words: object) -> list[list[str]]:
        """Run it; answers the commands that it printed, each about `D` and nothing else."""
        self.last = fluxbatch(*words, cwd=self._cwd, env=self._env)
        said = self.last.out + self.last.err
        assert "fluxbatch " in said
        commands = printed_commands(said)
        assert {dataset_in(command) for command in commands} == {D}, said
        return commands


def test_what_is_printed_for_a_dataset_with_an_odd_name_works_when_it_is_pasted(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    From the plan to failures, their retry, a missing image and a lost ledger.
    """
    manifest = write_manifest(tmp_path / "today's rows.jsonl", 3).name
    at = Session(tmp_path)
    asked = ("--out", D, "--base-url", emulator.base_url)
    assert at.type("plan", manifest, *asked) == [["run", manifest, "--out", D]]
    saved = fluxbatch("plan", manifest, *asked, "--save", "a plan.json", cwd=tmp_path)
    assert "saved: fluxbatch run 'a plan.json' makes exactly this" in saved.err

    emulator.faults(prediction_filtered=1)
    told = at.type("run", manifest, *asked)
    assert at.last.code == 3
    assert told == [["retry", D]]
    assert at.type("status", D) == told
    assert at.type("why", D, "#1") == [["retry", D, "--kind", "filtered"]]

    emulator.faults(prediction_filtered=0)
    again = at.type(*told[0])
    assert at.last.err.startswith("3 failed jobs back to pending")
    assert again == [["run", "…", "--out", D], ["plan", "…", "--out", D]]
    stopped = at.type("run", manifest, *asked, "--limit", "1")
    assert (at.last.code, stopped) == (4, [["run", manifest, *asked]])
    fluxbatch(*stopped[0], cwd=tmp_path)
    assert emulator.stats()["billed"] == 3

    for image in (tmp_path / D / "images").glob("*.webp"):
        image.unlink()
    assert at.type("show", D, "#1") == [["repair", D]]
    (repair,) = at.type("export", D, "--format", "imagefolder")
    assert repair == ["repair", D]
    assert fluxbatch(*repair, cwd=tmp_path, env={"FLUXBATCH_SINK__MIN_FREE": "0"}).code == 0

    for path in (tmp_path / D).glob("ledger.sqlite*"):
        path.unlink()
    assert at.type("status", D) == [["recover", D]]
    after = at.type("recover", D, "--base-url", emulator.base_url)
    assert after == [["run", "MANIFEST", "--out", D], ["repair", D]]


def test_creates_without_an_answer_are_told_of_in_commands_that_can_be_pasted(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The run looks for them in vain, for the listing is down.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 2).name
    at = Session(
        tmp_path, {"FLUXBATCH_RECONCILE__LAG": "0.3", "FLUXBATCH_RECONCILE__PATIENCE": "0"}
    )
    emulator.faults(create_reset_after=1, list_500=1)
    told = at.type("run", manifest, "--out", D, "--base-url", emulator.base_url)

    assert at.last.code == 7, at.last.err
    assert ["reconcile", D] in told
    assert ["reconcile", D] in at.type("status", D)
    assert at.type("why", D, "#1") == [["reconcile", D]]
    assert at.type("reconcile", D) == [["reconcile", D]]
