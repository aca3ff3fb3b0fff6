"""The coverage of a sweep as processes: `status --coverage`, `reroll --until`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_cli_run import run, write_manifest
from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof

PRICE = 25_000


@pytest.fixture
def swept(emulator: EmulatorProcess, tmp_path: Path) -> Path:
    """Two styles by two guidances, of each an image; those of one style are rejected."""
    config = tmp_path / "sweep.yaml"
    config.write_text(
        """
defaults:
  prompt: "a lighthouse in {{ style }}"
  control_image: https://photos.invalid/lighthouse.jpg
sweep:
  axes:
    style: [ink, oil]
    guidance: [5, 10]
"""
    )
    assert run(emulator, config).code == 0
    dataset = tmp_path / "d"
    fluxbatch("rate", dataset, "--where", "axes.style=ink", "reject")
    fluxbatch("rate", dataset, "--where", "axes.style=oil", "keep")
    return dataset


def test_the_status_counts_what_is_kept_of_each_value_and_of_each_combination(
    swept: Path,
) -> None:
    """
    Rerolls count with their rows.
    """
    assert fluxbatch("reroll", swept, "--where", "axes.style=ink", "--yes").code == 0

    axes = fluxbatch("status", swept, "--coverage", "--json").object["coverage"]
    both = fluxbatch("status", swept, "--per", "axes.style,axes.guidance", "--json")
    shown = fluxbatch("status", swept, "--coverage").out.splitlines()

    assert [table["per"] for table in axes] == [["axes.style"], ["axes.guidance"]]
    ink, oil = axes[0]["values"]
    assert ink == {"of": ["ink"], "kept": 0, "rejected": 2, "unjudged": 2, "to_come": 0}
    assert oil == {"of": ["oil"], "kept": 2, "rejected": 0, "unjudged": 0, "to_come": 0}
    assert [line["of"] for line in both.object["coverage"][0]["values"]] == [
        ["ink", "5"], ["ink", "10"], ["oil", "5"], ["oil", "10"]
    ]  # fmt: skip
    assert ["style=ink", "0", "2", "2", "0"] in [line.split() for line in shown]


def test_as_many_are_made_as_are_missing_of_each_combination(
    emulator: EmulatorProcess, swept: Path
) -> None:
    """
    Three of a style without one, two of a style that has one; what is not judged yet may be kept,
    so the same command makes no more until it is rejected.
    """
    words = ("reroll", swept, "--until", 3, "--per", "axes.style,axes.guidance", "--json")
    first = fluxbatch(*words, "--budget", "1")
    again = fluxbatch(*words, "--budget", "1")

    assert (first.code, again.code) == (0, 0)
    assert (first.object["reroll"]["picked"], again.object["reroll"]["picked"]) == (10, 0)
    assert first.object["reroll"]["short"]["values"] == []
    assert emulator.stats()["billed_micro_usd"] == (4 + 10) * PRICE
    prompts = [made["input"]["prompt"] for made in emulator.predictions()[4:]]
    assert (prompts.count("a lighthouse in ink"), prompts.count("a lighthouse in oil")) == (6, 4)
    assert len({made["input"]["seed"] for made in emulator.predictions()}) == 14

    fluxbatch("rate", swept, "--where", "axes.style=oil and reroll=2", "reject")
    assert fluxbatch(*words, "--yes").object["reroll"]["picked"] == 2
    assert emulator.stats()["created"] == 16


def test_what_a_budget_does_not_reach_is_said(emulator: EmulatorProcess, swept: Path) -> None:
    """
    Every combination gets its turn: of four there are four more, and exit 4.
    """
    words = ("reroll", swept, "--until", 3, "--per", "axes.style,axes.guidance", "--json")
    told = fluxbatch(*words, "--budget", "0.10")

    assert told.code == 4
    assert emulator.stats()["created"] == 8
    short = {tuple(one["of"]): one for one in told.object["reroll"]["short"]["values"]}
    assert {values: one["unjudged"] for values, one in short.items()} == {
        ("ink", "5"): 1, ("ink", "10"): 1, ("oil", "5"): 1, ("oil", "10"): 1
    }  # fmt: skip
    assert "not reached: 3 images kept or not judged yet" in told.err
    assert "style=ink, guidance=5: 0 kept, 1 not judged, 2 to come" in told.err
    assert fluxbatch(*words, "--yes").code == 0
    assert emulator.stats()["created"] == 14


def test_a_combination_without_an_image_is_left_to_a_run(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    There is nothing to make anew; it is told, and nothing is bought.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    assert run(emulator, manifest, "--budget", "0.01").code == 4
    told = fluxbatch("reroll", tmp_path / "d", "--until", 2, "--per", "id", "--yes", "--json")

    assert told.code == 0
    assert told.object["reroll"]["without_image"] == 1
    assert "1 left alone: no image yet" in told.err
    assert emulator.stats()["created"] == 0


def test_an_axis_that_no_row_has_is_refused(swept: Path) -> None:
    """
    Mistyped, it would be one group of everything, and be made anew as one.
    """
    wanted = ("--until", "160", "--per", "axes.nosuch", "--budget", "1")
    for words in (("reroll", swept, *wanted), ("status", swept, "--per", "axes.nosuch")):
        told = fluxbatch(*words)
        assert told.code == 2
        assert "no row has 'axes.nosuch'" in told.err
