"""The main job, end to end: a manifest in, verified images and an exact ledger out."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from PIL import Image

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.failure_cap import FailureCap
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError, ExitCode, HeldElsewhere, ManifestError
from fluxbatch.events import Event, OutputStored
from tests.support.running import KEY, Bench, make_rows, provider

_PHOTOS = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos"


async def test_every_row_is_done_once_and_the_books_agree(tmp_path: Path) -> None:
    """
    40 rows are billed 40 times, and both sides say so to the micro-dollar.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(40)))

        assert summary.exit_code is ExitCode.DONE
        assert summary.jobs.of(JobState.DONE) == 40
        assert summary.run.spent == emulator.stats["billed_micro_usd"] == 40 * 25_000
        assert emulator.stats["refused_rate"] == emulator.stats["refused_concurrent"] == 0
    assert len(bench.images()) == 40
    for path in bench.images():
        with Image.open(path) as image:
            image.load()
            assert image.size == (64, 64)


async def test_the_same_command_again_creates_nothing_and_ten_rows_more_cost_ten(
    tmp_path: Path,
) -> None:
    """
    A job is known by its content: only what is new is bought.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(make_rows(10)))
        again = await bench.run(emulator.base_url, bench.write(make_rows(10)))
        more = await bench.run(emulator.base_url, bench.write(make_rows(20)))

        assert (again.exit_code, again.run.spent) == (ExitCode.DONE, 0)
        assert (more.exit_code, more.run.spent) == (ExitCode.DONE, 10 * 25_000)
        assert emulator.stats["created"] == 20


async def test_a_local_photo_is_uploaded_once_for_many_rows_and_runs(tmp_path: Path) -> None:
    """
    Its content is what counts: a copy under another name is the same upload.
    """
    bench = Bench(tmp_path)
    shutil.copy(_PHOTOS / "coffee.webp", tmp_path / "one.webp")
    shutil.copy(_PHOTOS / "coffee.webp", tmp_path / "two.webp")
    rows = [
        {"prompt": f"{n}", "control_image": name}
        for n in range(3)
        for name in ("one.webp", "two.webp")
    ]
    async with provider() as emulator:
        first = await bench.run(emulator.base_url, bench.write(rows))
        rows.append({"prompt": "later", "control_image": "one.webp"})
        second = await bench.run(emulator.base_url, bench.write(rows))

        assert first.jobs.total == 3  # equal rows are one job
        assert second.exit_code is ExitCode.DONE
        assert emulator.stats["uploads"] == 1


async def test_a_photo_that_changed_makes_new_jobs_though_the_manifest_is_the_same(
    tmp_path: Path,
) -> None:
    """
    The bytes of the image are part of the job, not its name.
    """
    bench = Bench(tmp_path)
    shutil.copy(_PHOTOS / "coffee.webp", tmp_path / "photo.webp")
    manifest = bench.write([{"prompt": "a cup", "control_image": "photo.webp"}])
    async with provider() as emulator:
        await bench.run(emulator.base_url, manifest)
        with Image.open(_PHOTOS / "rocket.jpg") as other:
            other.save(tmp_path / "photo.webp", "WEBP")
        await bench.run(emulator.base_url, manifest)

        assert emulator.stats["created"] == 2


async def test_a_budget_buys_exactly_what_it_covers_and_says_what_is_left(tmp_path: Path) -> None:
    """
    $0.10 is four executions of $0.025, whatever runs at the same time.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(30)), budget="0.10")

        assert summary.exit_code is ExitCode.STOPPED
        assert emulator.stats["billed"] == 4
        assert summary.as_json()["jobs"] == {
            "total": 30, "done": 4, "failed": 0, "pending": 26, "unknown": 0,
        }  # fmt: skip
        assert "$0.10" in summary.reason


async def test_a_limit_of_creates_stops_there(tmp_path: Path) -> None:
    """
    `--limit 7` creates seven and leaves the rest for the next invocation.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        manifest = bench.write(make_rows(20))
        summary = await bench.run(emulator.base_url, manifest, limit=7)

        assert summary.exit_code is ExitCode.STOPPED
        assert emulator.stats["created"] == 7
        assert (await bench.run(emulator.base_url, manifest)).exit_code is ExitCode.DONE


async def test_a_shuffled_run_buys_in_its_seeds_order_and_goes_on_in_it(tmp_path: Path) -> None:
    """
    Cut short, the same seed goes on where it was; higher priority is first all the same.
    """
    manifest = [{**row, "priority": n % 2} for n, row in enumerate(make_rows(12))]
    bought: dict[str, list[int]] = {}
    for name, limits in (("one", [5, None]), ("two", [None])):
        slots = {"limits": {"concurrent": 1}, "queue": {"shuffle": 7}}
        bench = Bench(tmp_path / name, settings=slots)
        bench.folder.mkdir()
        async with provider() as emulator:
            for limit in limits:
                await bench.run(emulator.base_url, bench.write(manifest), limit=limit)
        sql = "SELECT position FROM jobs JOIN predictions ON job_seq = jobs.seq ORDER BY left_at"
        bought[name] = [place for (place,) in bench.query(sql)]
        numbers = "SELECT number FROM rows JOIN predictions USING (job_seq) ORDER BY left_at"
        order = [number - 1 for (number,) in bench.query(numbers)]
        assert [n % 2 for n in order] == [1] * 6 + [0] * 6
        assert order != [*range(1, 12, 2), *range(0, 12, 2)]

    assert bought["one"] == bought["two"]


async def test_150_jobs_meet_the_strict_window_without_a_refusal(tmp_path: Path) -> None:
    """
    100 leave as fast as the slots allow, the rest as the window empties; nothing is refused.
    """
    bench = Bench(tmp_path)
    async with provider(duration_s=3.0) as emulator:
        summary = await bench.run(emulator.base_url, bench.write(make_rows(150)))

        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["refused_rate"] == emulator.stats["refused_concurrent"] == 0
        assert emulator.stats["worst_window"] <= 100
        assert emulator.stats["worst_concurrency"] <= 10


async def test_two_keys_work_side_by_side(tmp_path: Path) -> None:
    """
    Each has its own slots and its own window, and half of the work. (At real speed twice the jobs
    then take no longer: 78.9 s and 78.1 s; here the clock says more about the machine.)
    """
    bench = Bench(tmp_path, keys=(KEY, KEY + "-2"))
    async with provider(duration_s=3.0) as emulator:
        both = await bench.run(emulator.base_url, bench.write(make_rows(300)))
        made = emulator.core.executor.history

        assert both.exit_code is ExitCode.DONE
        assert emulator.stats["refused_rate"] == emulator.stats["refused_concurrent"] == 0
    work = Counter(one.account for one in made)
    assert sorted(work.values()) == pytest.approx([150, 150], abs=20)
    at_once = [
        sum(other.created_at <= one.created_at < (other.ended_at or 0) for other in made)
        for one in made
    ]
    assert max(at_once) > 15, "one key has ten slots"


async def test_two_datasets_share_one_keys_limits(tmp_path: Path) -> None:
    """
    The second waits for the key; together they never pass its limits.
    """
    benches = [Bench(tmp_path / name) for name in ("a", "b")]
    for bench in benches:
        bench.folder.mkdir()
    async with provider(duration_s=1.0) as emulator:
        async with anyio.create_task_group() as group:
            for number, bench in enumerate(benches):
                rows = make_rows(70, guidance=number + 1)
                group.start_soon(bench.run, emulator.base_url, bench.write(rows))

        assert emulator.stats["created"] == 140
        assert emulator.stats["refused_rate"] == emulator.stats["refused_concurrent"] == 0
        assert emulator.stats["worst_window"] <= 100
        assert emulator.stats["worst_concurrency"] <= 10


async def test_a_second_process_on_a_key_may_refuse_to_wait(tmp_path: Path) -> None:
    """
    `--no-wait` ends at once and names the dataset that holds the key.
    """
    first, second = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    for bench in (first, second):
        bench.folder.mkdir()
    async with provider(duration_s=20.0) as emulator, anyio.create_task_group() as group:
        group.start_soon(first.run, emulator.base_url, first.write(make_rows(3)))
        while emulator.stats["created"] < 3:
            await anyio.lowlevel.checkpoint()

        with pytest.raises(HeldElsewhere, match=r"dataset .*/a/dataset"):
            await second.run(emulator.base_url, second.write(make_rows(3)), no_wait=True)


async def test_a_dataset_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    """
    Whoever comes second is told who holds it, and nothing is spent.
    """
    bench = Bench(tmp_path)
    bench.out.mkdir()
    async with provider() as emulator:
        with Folder(bench.out).lock(), pytest.raises(HeldElsewhere, match=r"pid [0-9]+"):
            await bench.run(emulator.base_url, bench.write(make_rows(2)))

        assert emulator.stats["created"] == 0


async def test_bad_rows_are_all_named_and_nothing_is_spent(tmp_path: Path) -> None:
    """
    One pass tells every bad row; the good ones are bought once the user says to skip the others.
    """
    bench = Bench(tmp_path)
    rows = make_rows(3)
    rows[1]["num_outputs"] = 9
    rows.append({"prompt": "no image"})
    manifest = bench.write(rows)
    async with provider() as emulator:
        with pytest.raises(ManifestError) as refused:
            await bench.run(emulator.base_url, manifest)
        assert [bad.line for bad in refused.value.bad_rows] == [2, 4]
        assert emulator.stats["calls"] == 0

        summary = await bench.run(emulator.base_url, manifest, skip_invalid=True)
        assert summary.exit_code is ExitCode.SOME_FAILED
        assert emulator.stats["created"] == 2
    assert [row[0] for row in bench.query("SELECT line FROM failures ORDER BY line")] == [2, 4]


async def test_an_unknown_model_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """
    The models there are stand in the message.
    """
    bench = Bench(tmp_path, settings={})
    async with provider() as emulator:
        with pytest.raises(ConfigError, match="flux-depth-dev"):
            await _run_model(bench, emulator.base_url, "flux-deep")


async def _run_model(bench: Bench, base_url: str, model: str) -> None:
    from fluxbatch.config.api_keys import ApiKey
    from fluxbatch.config.loading import load_settings
    from fluxbatch.engine.request import RunRequest
    from fluxbatch.engine.run import execute_run
    from fluxbatch.events import Events

    settings = load_settings(None, {"model": model, "provider": {"base_url": base_url}}, {})
    request = RunRequest(settings, [ApiKey(KEY)], Folder(bench.out), bench.write(make_rows(1)))
    await execute_run(request, Events())


def _files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_no_key_is_found_anywhere_after_a_run_with_failures(tmp_path: Path) -> None:
    """
    Ledger, lane files, images, events and errors: the key's text is in none of them.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        emulator.core.faults.merge({"create_400": 0.3, "prediction_error": 0.3, "create_401": 0.05})
        summary = await bench.run(emulator.base_url, bench.write(make_rows(30)))

    assert _files_with(KEY, tmp_path) == []
    assert KEY not in repr(summary) + repr(bench.heard)


async def test_a_deadline_stops_creates_in_time_and_finishes_what_runs(tmp_path: Path) -> None:
    """
    Nothing is bought that would not be done by then; what was bought is fetched.
    """
    bench = Bench(tmp_path)
    async with provider(duration_s=4.0) as emulator:
        ends_at = datetime.now(UTC) + timedelta(seconds=6)
        summary = await bench.run(
            emulator.base_url, bench.write(make_rows(1000)), ends_at=ends_at, max_failures=None
        )

        assert summary.exit_code is ExitCode.STOPPED
        assert "too near" in summary.reason
        assert summary.jobs.of(JobState.DONE) == emulator.stats["created"] > 0
        assert datetime.now(UTC) < ends_at


async def test_too_many_failed_jobs_stop_the_run(tmp_path: Path) -> None:
    """
    `--max-failures 3`: the fourth failed job ends buying, with jobs left and exit 4.
    """
    bench = Bench(tmp_path)
    async with provider(duration_s=1.0) as emulator:
        emulator.core.faults["prediction_filtered"] = 1.0
        summary = await bench.run(
            emulator.base_url, bench.write(make_rows(60)), max_failures=FailureCap(jobs=3)
        )

        assert summary.exit_code is ExitCode.STOPPED
        assert "--max-failures 3" in summary.reason
        assert emulator.stats["created"] < 30


async def test_an_error_that_ends_a_run_is_in_the_ledger(tmp_path: Path) -> None:
    """
    `status` says exit 1, and not that somebody killed it; the next run goes on.
    """

    class Faulty(list[Event]):
        def append(self, event: Event, /) -> None:
            if isinstance(event, OutputStored):
                raise ZeroDivisionError("sk-perhaps-a-secret")

    bench = Bench(tmp_path)
    async with provider() as emulator:
        manifest = bench.write(make_rows(3))
        bench.heard = Faulty()
        with pytest.raises(ZeroDivisionError):
            await bench.run(emulator.base_url, manifest)
        assert bench.query("SELECT exit_code, reason, ended_at FROM runs") == [
            (1, "unexpected ZeroDivisionError", None)
        ]
        bench.heard = []
        assert (await bench.run(emulator.base_url, manifest)).exit_code is ExitCode.DONE
        assert emulator.stats["billed"] == 3
