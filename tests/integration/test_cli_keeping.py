"""`ls`, `show`, `why` and `export` as processes, on what a real run made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_cli_run import run
from tests.support.commands import fluxbatch
from tests.support.emulator import emulator_process


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows: four done (one with three images), one filtered, one invalid."""
    place = tmp_path_factory.mktemp("keeping")
    rows: list[dict[str, object]] = [
        {"id": f"lamp {n}", "prompt": f"a lamp, {n}", "control_image": "https://x.invalid/c.jpg"}
        for n in range(1, 6)
    ]
    rows[1] |= {"num_outputs": 3}
    rows[4] |= {"priority": 9}  # bought first and alone, so it is the one that is filtered
    rows.append({**rows[0], "id": "broken", "guidance": 101})
    manifest = place / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with emulator_process() as emulator:
        emulator.faults(prediction_filtered={"chance": 1, "times": 1})
        one_by_one = {"FLUXBATCH_LIMITS__CONCURRENT": "1"}
        assert run(emulator, manifest, "--skip-invalid", env=one_by_one).code == 3
    return place / "d"


def test_ls_shows_a_line_a_row(dataset: Path) -> None:
    """
    Data on stdout, talk on stderr, in 80 columns or little more.
    """
    every, few = fluxbatch("ls", dataset), fluxbatch("ls", dataset, "-n", 2)
    lines = every.out.splitlines()

    assert (every.code, few.code) == (0, 0)
    assert lines[0].split() == ["#", "id", "state", "cost", "file"]
    assert len(lines) == 7
    assert lines[2].endswith("and 2 more")
    assert "invalid  $0.00" in lines[6]
    assert len(few.out.splitlines()) == 3
    assert "and more" in few.err


def test_ls_filters_and_answers_programs(dataset: Path) -> None:
    """
    A row a line as JSON, then their count.
    """
    ended = fluxbatch("ls", dataset, "--where", "state=failed or state=invalid", "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    none = fluxbatch("ls", dataset, "--where", "width>9000")
    wrong = fluxbatch("ls", dataset, "--where", "state=done und cost>0", "--json")

    assert rows[-1] == {"rows": 2, "more": False}
    assert [row["failure"] for row in rows[:-1]] == ["filtered", None]
    assert (none.code, none.out, none.err) == (0, "", "no row matches\n")
    assert wrong.code == wrong.object["exit"] == 2
    assert "--where, at character 12" in wrong.err
    assert wrong.err.splitlines()[-1] == " " * 13 + "^"


def test_show_says_everything_of_one_result(dataset: Path) -> None:
    """
    By row, by file; what is asked for as an object is the same.
    """
    told = fluxbatch("show", dataset, "lamp 2", "--json").object
    (first, *others) = told["images"]
    read = fluxbatch("show", dataset, dataset / others[1]["path"])

    assert (told["state"], len(others)) == ("done", 2)
    assert first["file"] == "whole"
    assert told["input"]["prompt"] == "a lamp, 2"
    for value in (told["job"], others[1]["sha256"], others[1]["prediction_id"], "$0.025"):
        assert value in read.out
    assert first["sha256"] not in read.out
    assert "image 3" in read.out


def test_show_tells_a_damaged_file(dataset: Path) -> None:
    """
    It reads the file: what the ledger remembers is not what lies there.
    """
    path = dataset / fluxbatch("show", dataset, "#3", "--json").object["images"][0]["path"]
    data = path.read_bytes()
    path.write_bytes(b"scratched")
    changed = fluxbatch("show", dataset, "#3")
    path.unlink()
    missing = fluxbatch("show", dataset, "#3", "--json").object["images"][0]["file"]
    path.write_bytes(data)

    assert f"NOT what the ledger says: fluxbatch repair {dataset}" in changed.out
    assert missing == "missing"


def test_why_tells_the_history_and_the_next_step(dataset: Path) -> None:
    """
    Of a failed job, and of a row that never was one.
    """
    told = fluxbatch("why", dataset, "lamp 5")
    invalid = fluxbatch("why", dataset, "broken")

    assert "accepted by the provider as" in told.out
    assert "(running → errored)" in told.out
    assert f"fluxbatch retry {dataset} --kind filtered" in told.out.splitlines()[-1]
    assert "guidance" in invalid.out
    assert "nothing was bought" in invalid.out


@pytest.mark.parametrize("verb", ["show", "why"])
def test_a_name_that_fits_nothing_exits_two(dataset: Path, verb: str) -> None:
    """
    With the nearest; an ambiguous one with what it could be.
    """
    unknown = fluxbatch(verb, dataset, "lamb 4", "--json")
    several = fluxbatch(verb, dataset, "lamp")

    assert (unknown.code, several.code) == (2, 2)
    assert "'lamp 4' (#4)" in unknown.object["error"]
    assert "'lamp 1' (#1), 'lamp 2' (#2)" in several.err


def test_export_tells_what_is_in_it_and_what_is_not(dataset: Path, tmp_path: Path) -> None:
    """
    The path alone on stdout; the same again writes nothing.
    """
    first = fluxbatch("export", dataset, "--format", "webdataset", "--to", tmp_path / "w")
    again = fluxbatch("export", dataset, "-f", "webdataset", "--to", tmp_path / "w", "--json")
    plain = fluxbatch("export", dataset, "-f", "csv", "--include-failed")

    assert (first.code, again.code, plain.code) == (0, 0, 0)
    assert first.out == f"{tmp_path / 'w'}\n"
    assert "6 images in 6 rows (train 6)" in first.err
    assert "left out: 2 failed rows (--include-failed)" in first.err
    assert again.object["shards"] == {"written": 0, "unchanged": 1, "removed": 0}
    assert plain.out == f"{dataset / 'exports' / 'results.csv'}\n"
    assert len((dataset / "exports" / "results.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f", "tfrecord"], "no export format 'tfrecord'; there is jsonl, csv"),
        (["-f", "csv", "--embed-images"], "--embed-images is for parquet"),
        (["-f", "webdataset", "--shard-size", "0"], "--shard-size 0"),
        (["-f", "imagefolder", "--shard-size", "20000"], "at most 9,998"),
        (["-f", "csv", "--split", "a=1", "--to", "x.csv"], "is one file"),
        (["-f", "csv", "--split", "a=2"], "is no share"),
        (["-f", "csv", "--where", "state=don"], "nothing is to be exported"),
    ],
)
def test_what_cannot_be_exported_exits_two(
    dataset: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    """
    And leaves no file.
    """
    ended = fluxbatch("export", dataset, *words, "--json", cwd=tmp_path)

    assert ended.code == ended.object["exit"] == 2
    assert said in ended.object["error"]
    assert not list(tmp_path.glob("*.csv"))
