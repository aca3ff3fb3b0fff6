"""`repair`: whatever happened to the files, they come back and nobody pays again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fluxbatch import Dataset
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError, ExitCode, HeldElsewhere
from fluxbatch.maintenance import RepairReport
from tests.maintenance.support import PRICE, Ward
from tests.support.pictures import picture
from tests.support.running import KEY


async def test_a_missing_a_cut_and_a_flipped_file_are_fetched_again_for_nothing(
    ward: Ward,
) -> None:
    """
    Each is found by what is wrong with it; the provider's bill stays as it was.
    """
    await ward.run(rows=4)
    whole = [path.read_bytes() for path in ward.bench.images()]
    missing, cut, flipped, _ = ward.bench.images()
    missing.unlink()
    cut.write_bytes(whole[1][:-9])
    flipped.write_bytes(whole[2][:-1] + bytes([whole[2][-1] ^ 1]))

    report = await ward.repair()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.checked, len(report.missing), len(report.corrupt)) == (4, 1, 2)
    assert (report.fetched, report.unfetched, report.strays) == (3, 0, [])
    assert [path.read_bytes() for path in ward.bench.images()] == whole
    assert ward.stats["billed_micro_usd"] == 4 * PRICE
    assert ward.stats["created"] == 4
    assert ward.jobs(JobState.DONE) == 4


async def test_two_processes_find_and_mend_the_same_as_one(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A dataset and its copy, each damaged in every way: the same report, the same files.
    """
    await ward.run(rows=7)
    whole = [path.read_bytes() for path in ward.bench.images()]
    missing, cut, flipped, led_away, *_ = ward.bench.images()
    missing.unlink()
    cut.write_bytes(whole[1][:-9])
    flipped.write_bytes(whole[2][:-1] + bytes([whole[2][-1] ^ 1]))
    led_away.unlink()
    led_away.symlink_to("/etc/hostname")
    (ward.out / "images" / "stray.png").write_bytes(b"nobody's")
    shutil.copytree(ward.out, copy := tmp_path / "copy", symlinks=True)

    monkeypatch.delenv("EACHLABS_API_KEY", raising=False)
    looked = [await Dataset(ward.out).repair(processes=processes) for processes in (1, 2)]
    monkeypatch.setenv("EACHLABS_API_KEY", KEY)
    one, two = await Dataset(ward.out).repair(), await Dataset(copy).repair(processes="2")

    assert _but_time(looked[0]) == _but_time(looked[1])
    assert (len(looked[1].missing), len(looked[1].corrupt), len(looked[1].refused)) == (1, 2, 1)
    assert _but_time(one) == _but_time(two)
    assert (two.checked, two.fetched, two.strays) == (7, 4, ["images/stray.png"])
    assert [path.name for path in sorted(ward.out.glob("images/*"))] == [
        path.name for path in sorted(copy.glob("images/*"))
    ]
    for place in (ward.out, copy):  # the sidecars say when each was stored
        images = sorted(place.glob("images/*.webp"))
        assert [path.read_bytes() for path in images] == whole


def _but_time(report: RepairReport) -> RepairReport:
    return replace(report, seconds=0.0)


async def test_a_whole_dataset_is_only_looked_at(ward: Ward) -> None:
    """
    Nothing is asked of the provider, so no key is needed either.
    """
    await ward.run(rows=2)
    calls = ward.stats["calls"]

    report = await ward.repair(keys=())

    assert report.ended() == (ExitCode.DONE, "every file is whole")
    assert ward.stats["calls"] == calls


async def test_without_a_key_what_is_broken_is_named_and_left(ward: Ward) -> None:
    """
    The check needs no key; the fetching does, and says so with its own exit code.
    """
    await ward.run(rows=2)
    ward.bench.images()[0].unlink()

    report = await ward.repair(keys=())

    assert report.ended()[0] is ExitCode.NO_KEY
    assert (len(report.missing), report.unfetched) == (1, 1)
    assert ward.jobs(JobState.DONE) == 2


async def test_an_output_that_was_lost_is_wanted_again(ward: Ward) -> None:
    """
    The run could not fetch it and failed the job; once the file can be had, the job is done.
    """
    ward.core.faults["download_500"] = 1
    assert await ward.run(rows=1) == ExitCode.SOME_FAILED
    ward.core.faults["download_500"] = 0
    assert ward.states("outputs") == ["lost"]

    report = await ward.repair()

    assert report.ended()[0] is ExitCode.DONE
    assert (report.lost, report.fetched) == (1, 1)
    assert ward.jobs(JobState.DONE) == 1
    assert ward.stats["billed"] == 1


async def test_what_cannot_be_had_again_is_lost_and_its_damaged_file_stays(ward: Ward) -> None:
    """
    Half an image may be worth something to whoever has no other.
    """
    await ward.run(rows=2)
    damaged = ward.bench.images()[0]
    damaged.write_bytes(b"half")
    ward.core.faults["download_404"] = 1

    report = await ward.repair()

    assert report.ended()[0] is ExitCode.SOME_FAILED
    assert (report.fetched, report.unfetched) == (0, 1)
    assert damaged.read_bytes() == b"half"
    assert sorted(ward.states("jobs")) == ["done", "failed"]

    ward.core.faults["download_404"] = 0
    assert (await ward.repair()).ended()[0] is ExitCode.DONE
    assert ward.states("jobs") == ["done", "done"]


async def test_an_extra_predictions_lost_image_does_not_undo_a_done_job(ward: Ward) -> None:
    """
    A job whose own images are whole stays done, whatever becomes of one that is beyond them.
    """
    await ward.run(rows=1)
    ward.buy_again(ward.bought()[0])
    assert (await ward.reconcile(adopt=True)).ended()[0] is ExitCode.DONE
    assert ward.states("outputs") == ["stored", "stored"]
    ward.bench.images()[-1].unlink()
    ward.core.faults["download_404"] = 1

    report = await ward.repair()

    assert report.ended()[0] is ExitCode.SOME_FAILED
    assert ward.states("jobs") == ["done"]


async def test_files_that_no_row_names_are_told_and_left(ward: Ward) -> None:
    """
    Somebody put them there; deleting is theirs.
    """
    await ward.run(rows=1)
    stray = ward.out / "images" / "holiday.jpg"
    stray.write_bytes(b"the sea")

    report = await ward.repair()

    assert report.ended()[0] is ExitCode.DONE
    assert report.strays == ["images/holiday.jpg"]
    assert stray.exists()


async def test_the_report_as_json(ward: Ward) -> None:
    """
    Programs get counts, not words.
    """
    await ward.run(rows=2)
    ward.bench.images()[0].unlink()

    told = (await ward.repair()).as_json()

    assert told.pop("seconds")
    assert told == {
        "exit": 0,
        "reason": "1 image found missing or damaged, 1 fetched: every file is whole now",
        "files": {"checked": 2, "missing": 1, "corrupt": 0, "refused": 0, "lost_before": 0},
        "images": {"fetched": 1, "left": 0},
        "sidecars": {"written": 0, "failed": 0},
        "strays": {"files": 0, "paths": []},
    }


async def test_a_folder_without_a_ledger_is_no_dataset(ward: Ward) -> None:
    """
    Nothing is made there, not even a lock file.
    """
    ward.out.mkdir()

    with pytest.raises(ConfigError, match="is no dataset"):
        await ward.repair()

    assert list(ward.out.iterdir()) == []


async def test_a_dataset_that_another_process_holds_is_left_alone(ward: Ward) -> None:
    """
    The message names who holds it.
    """
    await ward.run(rows=1)

    with Folder(ward.out).lock(), pytest.raises(HeldElsewhere, match=r"pid [0-9]+") as refused:
        await ward.repair()

    assert refused.value.exit_code is ExitCode.HELD


async def test_what_came_and_could_not_be_read_is_kept_and_becomes_the_image_once_it_can(
    ward: Ward,
) -> None:
    """
    The provider has nothing more to give; what was paid for is still here.
    """
    ward.core.faults["download_html_200"] = 1
    assert await ward.run(rows=1) == ExitCode.SOME_FAILED
    (kept,) = (ward.out / "unread").iterdir()
    assert b"<html" in kept.read_bytes().lower()
    ((reason,),) = ward.bench.query("SELECT reason FROM outputs")
    assert str(kept) in reason
    ward.core.faults["download_500"] = 1

    assert (await ward.repair()).fetched == 0
    assert kept.exists()

    kept.write_bytes(picture("png"))  # as if this fluxbatch could read what that one could not
    report = await ward.repair()

    assert (report.lost, report.fetched) == (1, 1)
    assert [path.read_bytes() for path in ward.bench.images()] == [picture("png")]
    assert not kept.parent.exists()
    assert ward.stats["billed"] == 1
