"""Plain lines: about every ten seconds, and for what changes."""

from __future__ import annotations

import pytest

from fluxbatch.cli.console import Console
from fluxbatch.cli.progress.progress import PlainProgress
from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.money import Micros
from fluxbatch.events import JobFailed, LaneChanged, RowsRead, RunStarted, Stopping
from tests.unit.cli.statuses import make_status, make_totals


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_line_comes_about_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A minute of a run is six or seven lines in a log, and none of them on stdout.
    """
    shown = PlainProgress(Console())
    for second in range(60):
        states = {JobState.DONE: second, JobState.PENDING: 100 - second}
        shown.show(make_status(states, elapsed_s=second))

    lines = lines_of(capsys)
    assert len(lines) == 6
    assert lines[1].startswith("[0:10] 10 of 100 done · 0 running · 42/100 creates · $0.00 spent")


def test_a_run_that_stands_still_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The same line again tells nobody anything.
    """
    shown = PlainProgress(Console())
    for second in range(60):
        shown.show(make_status({JobState.ACTIVE: 10}, elapsed_s=second, unknown=10))

    assert len(lines_of(capsys)) == 1


def test_a_create_on_its_way_is_not_told_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Every create is for the length of its request; the word is for those without a clear answer.
    """
    shown = PlainProgress(Console())
    shown.show(make_status({JobState.ACTIVE: 9}, elapsed_s=0, unknown=2, submitting=2))
    shown.show(make_status({JobState.ACTIVE: 9}, elapsed_s=20, unknown=3, submitting=2))

    sent, doubtful = lines_of(capsys)
    assert "· 9 running ·" in sent
    assert "· 8 running · 1 unknown ·" in doubtful


def test_the_last_jobs_are_no_reason_to_talk_every_second(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Nothing waits any more, but what runs may take minutes; its end is told at once.
    """
    shown = PlainProgress(Console())
    for second in range(8):
        spent = make_totals(spent=second * 25_000)
        shown.show(make_status({JobState.ACTIVE: 2}, elapsed_s=second, run=spent))
    shown.show(make_status({JobState.DONE: 2}, elapsed_s=8))

    lines = lines_of(capsys)
    assert len(lines) == 2
    assert lines[1].startswith("[0:08] 2 of 2 done · 0 running")


def test_failures_of_one_kind_are_told_three_times(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Ten thousand equal lines would hide the eleventh kind.
    """
    shown = PlainProgress(Console())
    for number in range(50):
        shown.hear(JobFailed(f"{number:032x}", FailureClass.FILTERED, "nsfw"))
    shown.hear(JobFailed("f" * 32, FailureClass.NO_OUTPUT, "nothing came"))

    lines = lines_of(capsys)
    assert len(lines) == 4
    assert "counted at the end" in lines[2]
    assert lines[3] == (
        "job ffffffff failed (no_output, it succeeded without an image): nothing came"
    )


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RunStarted("r1", False, 9, 0, Micros(0), Micros(0)), "run r1: 9 jobs"),
        (
            RunStarted("r2", False, 9, 4, Micros(0), Micros(100_000)),
            "new run r2: 4 of 9 jobs done already; this dataset has cost $0.10 so far",
        ),
        (
            RunStarted("r2", True, 9, 4, Micros(50_000), Micros(100_000)),
            "continuing run r2: 4 of 9 jobs done, $0.05 spent so far",
        ),
        (LaneChanged("a", "paused", "429", 12.0), "lane a: paused for 12 s (429)"),
        (Stopping("the cap"), "finishing what runs, buying no more: the cap"),
    ],
)
def test_what_changes_is_said_at_once(
    event: RunStarted, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A new run names what the dataset has cost, a continued one what it has spent.
    """
    PlainProgress(Console()).hear(event)

    assert lines_of(capsys) == [line]


def test_reading_a_manifest_is_told_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """
    By the clock, not by the batch.
    """
    now = 0.0
    shown = PlainProgress(Console(), now=lambda: now)
    for batch in range(40):
        now += 0.125
        shown.hear(RowsRead(batch * 2_000, 1, finished=False))

    lines = lines_of(capsys)
    assert len(lines) == 5
    assert lines[0] == "reading the manifest: 14,000 rows, 1 invalid"
