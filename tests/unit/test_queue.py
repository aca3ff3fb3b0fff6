"""The queue: the manifest's order, pauses, and knowing when nothing more will come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from fluxbatch.domain.job import JobId
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.ledger.queries.queue import QueueCursor, QueuedJob
from fluxbatch.queue import JobQueue


def _job(number: int) -> QueuedJob:
    return QueuedJob(number, JobId(bytes(16)), "m", {}, 1, None, None, 0)


@dataclass
class _Ledger:
    """Pages of pending jobs, as the ledger hands them out."""

    jobs: Sequence[QueuedJob]
    pages: int = 0

    async def page(self, after: QueueCursor, most: int) -> tuple[list[QueuedJob], QueueCursor]:
        self.pages += 1
        jobs = [job for job in self.jobs if job.seq > after.position][:most]
        return jobs, QueueCursor(0, jobs[-1].seq) if jobs else after


def _queue(count: int) -> JobQueue:
    return JobQueue(_Ledger([_job(n) for n in range(count)]).page, SystemClock())


async def _drain(queue: JobQueue) -> list[int]:
    taken_jobs: list[int] = []
    while True:
        async with queue.take() as claim:
            if claim.job is None:
                return taken_jobs
            taken_jobs.append(claim.job.seq)


async def test_jobs_come_in_order_page_by_page_and_then_no_more() -> None:
    """
    2,500 jobs are three pages; the end is known without another look.
    """
    ledger = _Ledger([_job(n) for n in range(2_500)])
    queue = JobQueue(ledger.page, SystemClock())

    assert await _drain(queue) == list(range(2_500))
    assert ledger.pages == 3


async def test_a_job_given_back_comes_again_and_ends_the_queue_only_then() -> None:
    """
    Whoever waits for work is not sent home while a job may still come back.
    """
    queue = _queue(1)
    async with anyio.create_task_group() as group:
        seen: list[int] = []

        async def other() -> None:
            seen.extend(await _drain(queue))

        async with queue.take() as claim:
            group.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            claim.retry_after(0.0)

    assert seen == [0]


async def test_a_job_put_back_keeps_its_place() -> None:
    """
    Nothing happened to it, so it is first in line again.
    """
    queue = _queue(3)
    async with queue.take() as claim:
        claim.release()

    assert await _drain(queue) == [0, 1, 2]


async def test_a_blocked_queue_waits_while_something_runs_that_may_free_money() -> None:
    """
    A cap without room ends the run only when nothing is left that could make some.
    """
    queue = _queue(2)
    async with anyio.create_task_group() as group:
        seen: list[int] = []

        async def worker() -> None:
            seen.extend(await _drain(queue))

        with queue.busy():
            queue.block("the cap is reached")
            group.start_soon(worker)
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            queue.unblock()
    assert seen == [0, 1]
    assert queue.starved_by is None


async def test_a_blocked_queue_with_nothing_running_says_what_starved_it() -> None:
    """
    The reason is the cap's, in words.
    """
    queue = _queue(2)
    queue.block("the cap is reached")

    assert await _drain(queue) == []
    assert queue.starved_by == "the cap is reached"


async def test_a_closed_queue_hands_out_nothing_more() -> None:
    """
    Not even to those who wait for a retry that is due later.
    """
    queue = _queue(1)
    async with anyio.create_task_group() as group:
        seen: list[int] = []

        async def worker() -> None:
            seen.extend(await _drain(queue))

        async with queue.take() as claim:
            claim.retry_after(3600.0)
        group.start_soon(worker)
        await anyio.wait_all_tasks_blocked()
        queue.close()

    assert seen == []


async def test_it_is_known_when_only_unknown_creates_are_waited_for() -> None:
    """
    That is when the patience of reconciliation begins to run.
    """
    queue = _queue(1)
    async with queue.take():
        assert not queue.waits_only_for(0)
        assert queue.waits_only_for(1)


async def test_where_nothing_can_be_made_jobs_are_left_to_others() -> None:
    """
    Also those that wait for a retry: whoever can make them would wait for this process.
    """
    slots = 1_000
    asked: list[str] = []

    async def others_done(waits: str) -> tuple[bool, str]:
        asked.append(waits)
        return True, ""

    queue = JobQueue(
        _Ledger([_job(n) for n in range(3)]).page, SystemClock(), page_jobs=lambda: slots,
        others_done=others_done,
    )  # fmt: skip
    async with queue.take() as first, queue.take() as second:
        slots = 0
        first.release()
        second.retry_after(3600.0)

    assert await _drain(queue) == []
    assert asked == [""]
