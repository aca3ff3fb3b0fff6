"""Every verb of the command line from Python, on a dataset that a run has filled."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from fluxbatch import Dataset
from fluxbatch.api.dataset import SyncDataset
from fluxbatch.api.run_at_work import RunAtWork, SyncRunAtWork
from fluxbatch.domain.job import JobState
from fluxbatch.errors import ConfigError, ExitCode
from tests.support.hub import hub_process
from tests.support.running import KEY, Bench, Provider, make_rows, provider
from tests.unit.test_guide import ALL

ELSEWHERE = {
    "demo": "shows the program",
    "init": "begins without a dataset",
    "keys": "is about keys",
    "models": "is about models",
    "emulator": "is a provider",
    "version": "is `fluxbatch.__version__`",
    "watch": "is a terminal's",
    "ls": "is `rows`",
    "show": "is `rows`",
    "ctl": "is `running`",
    "uploads prune": "is `prune_uploads`",
    "serve": "is a process of its own",
}


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    monkeypatch.setenv("EACHLABS_API_KEY", KEY)
    async with provider() as served:
        yield served


async def filled(served: Provider, tmp_path: Path, jobs: int = 3) -> Dataset:
    bench = Bench(tmp_path)
    summary = await bench.run(served.base_url, bench.write(make_rows(jobs)))
    assert summary.exit_code is ExitCode.DONE
    return Dataset(bench.out)


def test_every_verb_is_a_method_or_said_to_be_none() -> None:
    """
    Whoever adds a verb adds its method, or says where it is instead.
    """
    verbs = {name.removeprefix("fluxbatch ") for name in ALL}
    methods = {verb for verb in verbs if callable(getattr(Dataset, verb, None))}

    assert methods | ELSEWHERE.keys() == verbs
    assert not methods & ELSEWHERE.keys()
    for instead in ("rows", "running", "prune_uploads"):
        assert callable(getattr(Dataset, instead))


def test_every_method_that_is_awaited_has_a_twin_that_is_not() -> None:
    """
    The same names on both, the same arguments, and none of them async on `dataset.sync`.
    """
    methods, twins = methods_of(Dataset), methods_of(SyncDataset)
    awaited = {name for name, method in methods.items() if is_awaited(method)}

    assert methods.keys() - twins.keys() == {"open"}
    assert twins.keys() <= methods.keys()
    assert awaited == {
        "run", "reconcile", "repair", "recover", "reroll", "cancel", "prune_uploads", "running",
        "rate", "undo_rating", "costs", "push",
    }  # fmt: skip
    assert [name for name, method in twins.items() if is_awaited(method)] == []
    for name in awaited - {"running"}:
        assert parameters_of(twins[name]) == parameters_of(methods[name])


def test_a_run_at_work_has_a_twin_too() -> None:
    """
    All that steers it.
    """
    methods, twins = methods_of(RunAtWork), methods_of(SyncRunAtWork)

    assert methods.keys() == twins.keys()
    assert all(map(is_awaited, methods.values()))
    assert not any(map(is_awaited, twins.values()))
    for name, method in methods.items():
        assert parameters_of(twins[name]) == parameters_of(method)


def methods_of(kind: type) -> dict[str, Callable[..., Any]]:
    """The public ones, inherited ones too."""
    return {
        name: value
        for name in dir(kind)
        if not name.startswith("_") and callable(value := getattr(kind, name))
    }


def is_awaited(method: Callable[..., Any]) -> bool:
    """A twin is known by what it is itself, not by what it is named after."""
    told = inspect.signature(method).return_annotation
    awaits = inspect.iscoroutinefunction(method)
    return awaits or str(told).startswith("AsyncIterator")


def parameters_of(method: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(method).parameters.values())


async def test_a_dataset_is_looked_at_and_exported(served: Provider, tmp_path: Path) -> None:
    """
    The plain values that the command line prints.
    """
    dataset = await filled(served, tmp_path)

    status = dataset.status()
    history = dataset.why("#1")
    exported = dataset.export("jsonl", tmp_path / "rows.jsonl", where="status=done")
    report = dataset.report(tmp_path / "page", most=2)

    assert status.jobs.of(JobState.DONE) == 3
    assert history.job.state is JobState.DONE
    assert len(exported.path.read_text().splitlines()) == 3
    assert (tmp_path / "page" / "index.html").exists()
    assert (report.images, report.left_out) == (3, 1)


async def test_a_dataset_is_mended(served: Provider, tmp_path: Path) -> None:
    """
    Its files, its books, its jobs; a class that there is not is refused with those there are.
    """
    dataset = await filled(served, tmp_path)
    image = next(path for result in dataset.results() for path in result.paths)
    image.unlink()

    repaired = await dataset.repair()
    reconciled = await dataset.reconcile()
    cancelled = await dataset.cancel(wait_s=1.0)
    await dataset.prune_uploads()

    assert repaired.ended()[0] is ExitCode.DONE
    assert image.exists()
    assert reconciled.ended()[0] is ExitCode.DONE
    assert cancelled.ended()[0] is ExitCode.DONE
    assert dataset.retry().jobs == 0
    assert dataset.retry_quality(["black"]).jobs == 0
    with pytest.raises(ConfigError, match="there are: "):
        dataset.retry("sulking")


async def test_images_are_rated_and_the_latest_rating_is_taken_back(
    served: Provider, tmp_path: Path
) -> None:
    """
    By the name of a job, by a file, by a filter; what is no rating, or fits none, is refused.
    """
    dataset = await filled(served, tmp_path)
    file = next(iter(dataset.results())).paths[0]

    kept = await dataset.rate("#1", "keep", note="sharp")
    again = await dataset.rate([file, "#2"], "keep", note="sharp")
    starred = await dataset.rate(rating=4, where="rating=keep")
    undone = await dataset.undo_rating()
    rated = {row.number: row.images[0].rating for row in dataset.rows("rating=keep")}
    without_await = dataset.sync.rate("#3", "reject"), dataset.sync.undo_rating()

    assert (kept.images, kept.changed) == (1, 1)
    assert (again.images, again.changed) == (2, 1)
    assert (starred.images, starred.changed, undone) == (2, 2, 2)
    assert (without_await[0].changed, without_await[1]) == (1, 1)
    assert {number: (one.stars, one.note) for number, one in rated.items()} == {
        1: (None, "sharp"), 2: (None, "sharp"),
    }  # fmt: skip
    refused: list[tuple[str, str, str, str]] = [
        ("#1", "keep", "rating=keep", "one of them"),
        ("", "keep", "", "one of them"),
        ("", "keep", "stars=5", "no image fits"),
        ("#1", "", "", "no rating"),
        ("#1", "6", "", "1 to 5"),
    ]
    for name, rating, where, why in refused:
        with pytest.raises(ConfigError, match=why):
            await dataset.rate([name] if name else [], rating, where=where)


async def test_costs_are_added_up(
    served: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    By what is asked for, and with other datasets; in dollars too.
    """
    dataset = await filled(served, tmp_path_factory.mktemp("one"))
    other = await filled(served, tmp_path_factory.mktemp("two"), jobs=1)

    mine = await dataset.costs("run")
    both = dataset.sync.costs("key", others=[other.path, dataset.path])

    assert mine.total.images == 3
    assert mine.total.spent_usd == dataset.totals().spent_usd > 0
    assert [spent.creates for _, spent in mine.lines()] == [3]
    assert both.total.creates == 4
    assert len(both.places) == 2
    assert both.total.an_image_usd == mine.total.an_image_usd
    with pytest.raises(ConfigError, match="there are day, run, model, key and axis:NAME"):
        await dataset.costs("weather")


async def test_a_dataset_is_pushed(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    To the Hub, then once more with nothing to send; a place that is none is refused before.
    """
    dataset = await filled(served, tmp_path)
    said: list[str] = []
    with hub_process() as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="hf://datasets/OWNER/NAME"):
            await dataset.push("somebody/lighthouses")
        pushed = await dataset.push(
            "hf://datasets/somebody/lighthouses", "jsonl", on_text=said.append
        )
        again = await dataset.push("hf://datasets/somebody/lighthouses", "jsonl")
        is_private = hub.repo("somebody/lighthouses")["private"]

    assert pushed.uploaded > 0
    assert pushed.url.endswith("/datasets/somebody/lighthouses")
    assert (again.uploaded, again.unchanged) == (0, pushed.uploaded)
    assert is_private


async def test_a_lost_ledger_is_written_anew(served: Provider, tmp_path: Path) -> None:
    """
    From what the images and their sidecars say; one that is there is refused.
    """
    dataset = await filled(served, tmp_path)
    with pytest.raises(ConfigError):
        await dataset.recover(base_url=served.base_url)
    for path in dataset.path.glob("ledger.sqlite*"):
        path.unlink()

    report = await dataset.recover(base_url=served.base_url)

    assert report.ended()[0] is ExitCode.DONE
    assert dataset.totals().images == 3


async def test_a_run_at_work_is_steered(served: Provider, tmp_path: Path) -> None:
    """
    From the first pause to its stop; where none is at work it is said at once.
    """
    bench = Bench(tmp_path)
    dataset = Dataset(bench.out)
    async with anyio.create_task_group() as tasks:
        rows = bench.write(make_rows(60))
        tasks.start_soon(partial(bench.run, served.base_url, rows))
        with anyio.fail_after(30):
            while served.stats["created"] < 3:  # noqa: ASYNC110  it is another's state
                await anyio.sleep(0.01)
        async with dataset.running() as run:
            paused = await run.pause("a look")
            shown = await run.show()
            raised = await run.limits(creates=50, slots=5)
            capped = await run.budget(7.5)
            off = await run.lane("key-0", is_on=False)
            await run.lane("key-0", is_on=True)
            await run.resume()
            stopped = await run.stop("enough")

    assert (paused["changed"], shown["paused"]) == (True, True)
    assert "enough" in stopped["stopping"]
    assert [one["changed"] for one in raised] == [True, True]
    assert (capped["budget_usd"], off["changed"]) == ("7.50", True)
    assert (off["lanes"][0]["creates"], off["lanes"][0]["slots"]) == (50, 5)
    changes = [what for _, what, _ in dataset.status().changes]
    assert (changes[0], changes[-2:], len(changes)) == ("paused", ["resumed", "stopped"], 8)
    assert "lane key-0 off" in changes
    with pytest.raises(ConfigError, match="no run is at work"):
        async with dataset.running():
            pass
