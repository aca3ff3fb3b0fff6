"""`uploads prune`: what no job waits for goes at the provider, what one may still need stays."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ExitCode, HeldElsewhere
from fluxbatch.events import Events
from fluxbatch.maintenance import PruneReport, prune_uploads
from tests.emulator.support import until
from tests.maintenance.support import Ward
from tests.support.running import KEY

_PHOTOS = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos"


def rows(ward: Ward, *photos: str) -> Path:
    """A manifest with one row for each photo, which lies beside it."""
    for photo in photos:
        shutil.copy(_PHOTOS / photo, ward.bench.folder / photo)
    return ward.bench.write([{"prompt": f"of {one}", "control_image": one} for one in photos])


async def run(ward: Ward, *photos: str) -> int:
    summary = await ward.bench.run(ward.emulator.base_url, rows(ward, *photos))
    return int(summary.exit_code)


async def prune(ward: Ward, *keys: str) -> PruneReport:
    return await prune_uploads(ward.request(keys or (KEY,)), Events())


PHOTOS = ("astronaut.jpg", "chelsea.png", "coffee.webp")


async def test_what_every_job_is_done_with_is_deleted_and_uploaded_again_when_needed(
    ward: Ward,
) -> None:
    """
    The images made of it stay; a job that names it later costs an upload and nothing else.
    """
    await run(ward, *PHOTOS)
    report = await prune(ward)

    assert report.ended() == (ExitCode.DONE, "no upload is left that no job needs")
    assert (report.deleted, report.kept) == (3, 0)
    assert report.deleted_bytes == sum((_PHOTOS / one).stat().st_size for one in PHOTOS)
    assert ward.stats["deletes"] == 3
    assert ward.bench.query("SELECT count(*) FROM uploads") == [(0,)]
    assert len(ward.bench.images()) == 3

    again = [{"prompt": "another", "control_image": PHOTOS[0]}]
    summary = await ward.bench.run(ward.emulator.base_url, ward.bench.write(again))
    assert summary.exit_code is ExitCode.DONE
    assert ward.stats["uploads"] == 4


async def test_what_a_pending_job_waits_for_stays(ward: Ward) -> None:
    """
    One job is done, two are left for another day, one of which has its image up there already.
    """
    await run(ward, *PHOTOS)
    ward.change("UPDATE jobs SET state = 'pending' WHERE seq = 2")

    report = await prune(ward)

    assert (report.deleted, report.kept) == (2, 1)
    kept = ward.bench.query("SELECT j.seq FROM uploads JOIN jobs j ON j.control_sha256 = sha256")
    assert kept == [(2,)]


@pytest.mark.parametrize("state", ["running", "unknown", "submitting"])
async def test_what_a_prediction_may_be_reading_is_never_deleted(ward: Ward, state: str) -> None:
    """
    Whatever its job is called: running, unknown and even an intent without an answer.
    """
    await run(ward, *PHOTOS)
    ward.change(f"UPDATE predictions SET state = '{state}' WHERE seq = 1")

    report = await prune(ward)

    assert (report.deleted, report.kept) == (2, 1)
    assert ward.stats["deletes"] == 2


async def test_a_run_that_was_left_keeps_its_images_up_there(ward: Ward) -> None:
    """
    Its predictions run on at the provider; the next run adopts them, and then nothing is needed.
    """
    ward.core.faults["prediction_stuck"] = 1
    manifest = rows(ward, *PHOTOS)
    await _leave_running(ward, manifest)
    assert (await prune(ward)).deleted == 0
    assert ward.stats["deletes"] == 0


async def _leave_running(ward: Ward, manifest: Path) -> None:
    sql = "SELECT count(*) FROM predictions WHERE state = 'running'"
    async with anyio.create_task_group() as group:
        group.start_soon(ward.bench.run, ward.emulator.base_url, manifest)
        await until(lambda: ward.asked(sql) == len(PHOTOS))
        group.cancel_scope.cancel()


async def test_an_upload_that_cannot_be_deleted_is_never_sent_again_and_asked_for_next_time(
    ward: Ward,
) -> None:
    """
    Its key is revoked: exit 5, the address is given up, and the next prune goes on.
    """
    await run(ward, PHOTOS[0])
    ward.core.gate.revoked.add(KEY)
    refused = await prune(ward)
    ward.core.gate.revoked.clear()

    assert refused.ended()[0] is ExitCode.NO_KEY
    assert (refused.deleted, len(refused.refused)) == (0, 1)
    ((expires_at,),) = ward.bench.query("SELECT expires_at FROM uploads")
    assert datetime.fromisoformat(expires_at) <= datetime.now(UTC)

    report = await prune(ward)
    assert (report.ended()[0], report.deleted) == (ExitCode.DONE, 1)
    assert ward.stats["deletes"] == 1


async def test_nothing_is_pruned_while_a_run_goes_on(ward: Ward) -> None:
    """
    Exit 6: the run may be about to send what looks unused.
    """
    await run(ward, PHOTOS[0])
    with Folder(ward.out).lock(), pytest.raises(HeldElsewhere):
        await prune(ward)

    assert ward.stats["deletes"] == 0


async def test_an_upload_is_made_anew_before_it_expires(ward: Ward) -> None:
    """
    A prediction that is bought now must still find it: three times `provider.deadline` ahead.
    """
    await run(ward, PHOTOS[0])
    soon = datetime.now(UTC) + timedelta(seconds=30)
    ward.change(f"UPDATE uploads SET expires_at = '{soon:%Y-%m-%dT%H:%M:%S.000000Z}'")
    again = ward.bench.write([{"prompt": "another", "control_image": PHOTOS[0]}])
    summary = await ward.bench.run(ward.emulator.base_url, again)

    assert summary.jobs.of(JobState.DONE) == 1
    assert ward.stats["uploads"] == 2
    assert ward.bench.query("SELECT count(*) FROM uploads") == [(1,)]
