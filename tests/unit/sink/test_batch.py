"""Batched writing: images that end together share a thread call, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event
from typing import TypeVar

import anyio
import anyio.to_thread
import pytest

from fluxbatch.config.settings import SinkSettings as SinkSettings
from fluxbatch.errors import SinkError
from fluxbatch.infra.runtime import Runtime, SystemClock, ToThread
from fluxbatch.sink import LocalStore, RejectedOutput, Stored, batch
from fluxbatch.sink.batch import BatchWriter, Download
from tests.support.clients import CountedBlocking
from tests.support.pictures import picture

T = TypeVar("T")
PNG = picture("png")


class Gated:
    """Threads, the first of which waits for `gate`."""

    def __init__(self) -> None:
        self.gate = Event()
        self.began = anyio.Event()
        self.calls = 0

    async def __call__(self, call: Callable[[], T], /) -> T:
        self.calls += 1
        if self.calls > 1:
            return await anyio.to_thread.run_sync(call)

        def late() -> T:
            self.gate.wait(10)
            return call()

        self.began.set()
        return await anyio.to_thread.run_sync(late)


def stower_of(store: LocalStore, to_thread: ToThread) -> BatchWriter:
    runtime = Runtime(SystemClock(), Random(), to_thread)
    return BatchWriter(store, runtime, SinkSettings(max_pixels=10_000))


async def stowed(
    stower: BatchWriter, store: LocalStore, content: bytes, stem: str
) -> Stored | RejectedOutput:
    to_thread = CountedBlocking()
    arrival = Download(store, to_thread)
    await arrival.take(content)
    try:
        return await stower.write(arrival, stem)
    finally:
        await arrival.discard()


@pytest.fixture(autouse=True)
def one_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of two cores, wherever this runs."""
    monkeypatch.setattr(batch, "_BATCHES_AT_A_TIME", 1)


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


async def test_what_arrives_during_a_trip_shares_the_next_one(tmp_path: Path) -> None:
    """
    Eight images, two trips; every one of them has its own file and its own answer.
    """
    to_thread, store = Gated(), LocalStore(tmp_path)
    stower = stower_of(store, to_thread)
    answers: dict[str, Stored | RejectedOutput] = {}

    async def one(stem: str) -> None:
        answers[stem] = await stowed(stower, store, PNG, stem)

    async with anyio.create_task_group() as group:
        group.start_soon(one, "first")
        await to_thread.began.wait()
        for number in range(7):
            group.start_soon(one, f"later-{number}")
        await anyio.wait_all_tasks_blocked()
        to_thread.gate.set()

    assert to_thread.calls == 2
    assert all(isinstance(answer, Stored) for answer in answers.values())
    assert files(tmp_path) == sorted(f"images/{stem}.png" for stem in answers)
    assert len(answers) == 8


async def test_a_bad_image_is_the_trouble_of_its_own_parcel(tmp_path: Path) -> None:
    """
    Its neighbours on the trip are stored, and no half file of it stays.
    """
    to_thread, store = Gated(), LocalStore(tmp_path)
    stower = stower_of(store, to_thread)
    answers: dict[str, Stored | RejectedOutput] = {}

    async def one(stem: str, content: bytes) -> None:
        answers[stem] = await stowed(stower, store, content, stem)

    async with anyio.create_task_group() as group:
        group.start_soon(one, "first", PNG)
        await to_thread.began.wait()
        group.start_soon(one, "cut", PNG[:-20])
        group.start_soon(one, "good", PNG)
        await anyio.wait_all_tasks_blocked()
        to_thread.gate.set()

    assert isinstance(answers["cut"], RejectedOutput)
    assert isinstance(answers["good"], Stored)
    assert files(tmp_path) == ["images/first.png", "images/good.png"]


async def test_a_folder_that_cannot_be_made_fails_only_what_goes_there(tmp_path: Path) -> None:
    """
    The error names the path; the others of the trip are stored.
    """
    to_thread, store = Gated(), LocalStore(tmp_path)
    stower = stower_of(store, to_thread)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "ab").write_text("in the way")
    said: list[str] = []

    async def one(stem: str) -> None:
        try:
            await stowed(stower, store, PNG, stem)
        except SinkError as exc:
            said.append(str(exc))

    async with anyio.create_task_group() as group:
        group.start_soon(one, "first")
        await to_thread.began.wait()
        group.start_soon(one, "ab/blocked")
        group.start_soon(one, "good")
        await anyio.wait_all_tasks_blocked()
        to_thread.gate.set()

    assert len(said) == 1
    assert "images/ab" in said[0]
    assert files(tmp_path) == ["images/ab", "images/first.png", "images/good.png"]


async def test_who_is_cancelled_while_waiting_leaves_the_others_alone(tmp_path: Path) -> None:
    """
    Those who wait on are served by somebody else's trip.
    """
    to_thread, store = Gated(), LocalStore(tmp_path)
    stower = stower_of(store, to_thread)
    answers: list[Stored | RejectedOutput] = []

    async def one(stem: str) -> None:
        answers.append(await stowed(stower, store, PNG, stem))

    async with anyio.create_task_group() as group:
        group.start_soon(one, "first")
        await to_thread.began.wait()
        async with anyio.create_task_group() as gone:
            gone.start_soon(one, "cancelled")
            await anyio.wait_all_tasks_blocked()
            gone.cancel_scope.cancel()
        group.start_soon(one, "good")
        await anyio.wait_all_tasks_blocked()
        to_thread.gate.set()

    assert len(answers) == 2
    assert files(tmp_path) == ["images/first.png", "images/good.png"]


async def test_a_leader_that_is_cancelled_before_its_trip_hands_on(tmp_path: Path) -> None:
    """
    Cancelled at the door to the thread: who waits with it leads the trip instead.
    """
    store = LocalStore(tmp_path)
    turned_away = anyio.CancelScope()
    first = True

    async def at_the_door(call: Callable[[], T], /) -> T:
        nonlocal first
        if first:
            first = False
            await anyio.wait_all_tasks_blocked()
            turned_away.cancel()
            await anyio.sleep_forever()
        return await anyio.to_thread.run_sync(call)

    stower = stower_of(store, at_the_door)
    answers: list[Stored | RejectedOutput] = []

    async def leader() -> None:
        with turned_away:
            await stowed(stower, store, PNG, "leader")

    async def follower() -> None:
        answers.append(await stowed(stower, store, PNG, "follower"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(leader)
            group.start_soon(follower)

    assert len(answers) == 1
    assert files(tmp_path) == ["images/follower.png"]


async def test_a_trip_ends_with_the_folder_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Files first, their names after; nobody is answered before both.
    """
    synced: list[int] = []
    real = os.fsync

    def spy(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        real(handle)

    store = LocalStore(tmp_path)
    monkeypatch.setattr("fluxbatch.infra.atomic_file.os.fsync", spy)
    await stowed(stower_of(store, CountedBlocking()), store, PNG, "a")

    file, folder = tmp_path / "images" / "a.png", tmp_path / "images"
    assert synced[-2:] == [file.stat().st_ino, folder.stat().st_ino]
