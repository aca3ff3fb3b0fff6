"""The commands that verbs print, for datasets whose names a shell would take apart."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fluxbatch.cli import main
from fluxbatch.cli.batch_args import BatchArgs
from fluxbatch.cli.render.maintenance import (
    cancel_lines,
    reconcile_lines,
    recover_lines,
    repair_lines,
)
from fluxbatch.cli.render.retry import retry_lines, retry_quality_lines
from fluxbatch.cli.reroll_run import RerollWords
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import shell_word
from fluxbatch.domain.job import FailureClass, PredictionId
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.operations.retry import Retried
from fluxbatch.ledger.operations.retry_quality import Reseeded
from fluxbatch.maintenance import CancelReport, ReconcileReport, RepairReport
from fluxbatch.maintenance.recover import RecoverReport
from fluxbatch.maintenance.reports import Choice, Orphan, Undecided
from fluxbatch.scheduler.slot_holders import Holder, holders_words
from tests.support.printed_commands import dataset_in, printed_commands

PLACES = [
    "My pictures",
    "Kim's $x pictures",
    'a "b"; echo c',
    "~home",
    "postgresql://flux@h/DB/NIGHT?sslmode=require&target_session_attrs=read-write",
    "postgresql://h/DB/my night",
]
_AT = "2026-11-28T12:00:00Z"


def everything_said(folder: Folder) -> Iterator[str]:
    """What the verbs print that end with commands."""
    one = PredictionId("p-1")
    choice = Choice(one, _AT, "succeeded", Micros(1), "")
    left = ReconcileReport(orphans=[Orphan(one, "ab" * 8, Micros(1), _AT)], not_alive=1)
    asks = ReconcileReport(undecided=[Undecided("ab" * 8, _AT, (choice,))], unfetched=1)
    yield from reconcile_lines(left, folder)
    yield from reconcile_lines(asks, folder)
    yield from reconcile_lines(ReconcileReport(unknown=1), folder)
    yield from repair_lines(RepairReport(unfetched=1), folder)
    yield from recover_lines(RecoverReport(), folder)
    yield from cancel_lines(CancelReport(unknown=1), folder)
    kept = {FailureClass.OUTPUT_LOST: 1, FailureClass.LOST: 1}
    yield from retry_lines(Retried(1, kept), folder)
    yield from retry_quality_lines(Reseeded(1, 0, 1), folder)
    yield RerollWords("rating=reject", "2", None, "", "").again(folder)


@pytest.mark.parametrize("place", PLACES)
def test_every_command_that_is_printed_names_the_dataset_in_one_word(place: str) -> None:
    """
    Pasted into a shell, it is about that dataset, with all that was said of its server.
    """
    folder = dataset_at(place)
    commands = printed_commands("\n".join(everything_said(folder)))

    assert len(commands) == 19
    assert {dataset_in(words) for words in commands} == {place}
    assert dataset_at(dataset_in(commands[0])) == folder


@pytest.mark.parametrize("place", PLACES)
def test_the_command_that_goes_on_names_its_manifest_and_its_dataset_in_a_word_each(
    place: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "today's rows.csv"
    typed = BatchArgs.read(manifest, Path(place), kind="", base_url="", budget="0.10")

    assert shlex.split(typed.run_again(yes=True, run_name="a night")) == [
        "fluxbatch", "run", str(manifest), "--out", place, "--run", "a night", "--budget", "0.10",
        "--yes",
    ]  # fmt: skip


def test_the_dataset_that_holds_a_slot_is_named_in_one_word() -> None:
    at = datetime(2026, 11, 28, tzinfo=UTC)
    words = holders_words(10, [Holder("/data/Kim's pictures", False, at, at)])

    assert printed_commands(words) == [["reconcile", "/data/Kim's pictures"]]


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("d", "d"),
        ("/data/2026-11-28/a.b_c", "/data/2026-11-28/a.b_c"),
        ("postgresql://me@h:5433/DB/NIGHT", "postgresql://me@h:5433/DB/NIGHT"),
        ("-", "-"),
        ("-x", "./-x"),
        ("-x y", "'./-x y'"),
        ("a\nb", "'a\nb'"),
    ],
)
def test_only_what_needs_it_is_quoted_and_nothing_is_an_option(place: str, word: str) -> None:
    """
    A manifest that is `-` is stdin.
    """
    assert shell_word(place) == word
    assert Path(shlex.split(word)[0]) == Path(place)


def test_a_new_folder_and_a_folder_that_is_no_image_are_told_in_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    By `init`, and by `show` of a folder alone.
    """
    place = tmp_path / "Kim's start"
    assert main(["init", str(place)]) == 0
    planned, run = printed_commands(capsys.readouterr().err)
    config = str(place / "fluxbatch.yaml")
    assert planned == ["plan", config]
    assert run == ["run", config, "--out", str(place / "dataset")]

    assert main(["show", str(place)]) == 2
    assert f"fluxbatch show {shell_word(place)} '#1'" in capsys.readouterr().err


def test_an_array_is_made_lines_by_a_command_that_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "today's rows.json"
    manifest.write_text('[{"prompt": "a pier"}]')

    assert main(["plan", str(manifest)]) == 2
    command = capsys.readouterr().err.strip().rpartition("a line: ")[2]
    assert shlex.split(command)[3:] == ["today's rows.json", ">", "today's rows.lines.jsonl"]
