"""The queue of a run: the ledger's pending jobs in order, and those that wait for a retry.

Owns the jobs that are handed out and not yet ended. Jobs come in pages, so a million of them cost
no memory; one that is released comes again after its pause. Closed, it hands out
nothing more. Knows nothing of lanes, money or HTTP.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio

from fluxbatch.infra.runtime import Clock
from fluxbatch.ledger.queries.queue import QUEUE_START, QueueCursor, QueuedJob

ReadPage = Callable[[QueueCursor, int], Awaitable[tuple[list[QueuedJob], QueueCursor]]]

_PAGE = 1_000
_LOOK_AGAIN_S = 1.0
"""How long other processes are left alone where they may bring something."""

OthersDone = Callable[[str], Awaitable[tuple[bool, str]]]
"""Told why this queue waits (a cap, or nothing): whether no other process may bring anything more,
and the cap that they wait for."""


class Claim:
    """A job in a worker's hands; `job` is None when there will be no more."""

    __slots__ = ("at_front", "job", "retry_after_s")

    def __init__(self, job: QueuedJob | None) -> None:
        self.job = job
        self.retry_after_s: float | None = None
        self.at_front = False

    def retry_after(self, after_s: float = 0.0) -> None:
        """Hand it out once more, not earlier than *after_s* from now."""
        self.retry_after_s = after_s

    def release(self) -> None:
        """Put it back at the front: nothing happened to it."""
        self.at_front = True


class JobQueue:
    """The jobs of one run."""

    def __init__(
        self,
        read_page: ReadPage,
        clock: Clock,
        *,
        page_jobs: Callable[[], int] = lambda: _PAGE,
        others_done: OthersDone | None = None,
    ) -> None:
        """*page_jobs* are read at once, none where nothing can be made; *others_done* is asked
        before it ends, where jobs are shared with other processes."""
        self._read_page = read_page
        self._page_jobs = page_jobs
        self._others_done = others_done
        self._is_asking = False
        self._clock = clock
        self._ready: deque[QueuedJob] = deque()
        self._paused: list[tuple[float, int, QueuedJob]] = []
        self._pauses = 0
        self._cursor = QUEUE_START
        self._exhausted = False
        self._reading = anyio.Lock()
        self._busy = 0
        self._changed = anyio.Event()
        self._sleepers = 0
        """How many wait for the next change."""
        self._blocked: str | None = None
        self.is_closed = False
        self.closed = anyio.Event()
        self.starved_by: str | None = None
        """The cap that has no room, once nothing is left that could free any."""

    def close(self) -> None:
        """Hand out nothing more."""
        self.is_closed = True
        self.closed.set()
        self._wake()

    def look_again(self) -> None:
        """Other processes may have left jobs."""
        self._exhausted = False
        self._wake()

    def begin_with(self, jobs: Sequence[QueuedJob]) -> None:
        """Hand out these alone, and no page, until `go_on`."""
        self._ready.extend(jobs)
        self._exhausted = True

    def go_on(self) -> None:
        """Whatever is pending now, from the first page on."""
        self._cursor, self._exhausted, self.is_closed = QUEUE_START, False, False
        self.closed = anyio.Event()
        self._wake()

    def block(self, reason: str) -> None:
        """A cap has no room: hand out nothing until something that runs has ended."""
        self._blocked = reason

    @property
    def blocked_by(self) -> str:
        """The cap that has no room now; empty where none is in the way."""
        return self._blocked or ""

    def unblock(self) -> None:
        """Something ended, so there may be room again."""
        if self._blocked is not None:
            self._blocked = None
            self._wake()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Claim]:
        """The next job, for as long as the worker is busy with it."""
        claim = Claim(await self._next())
        try:
            yield claim
        finally:
            if claim.job is not None:
                self._return(claim, claim.job)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something else runs that may free money or bring a job back."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._wake()

    def _return(self, claim: Claim, job: QueuedJob) -> None:
        self._busy -= 1
        if claim.at_front:
            self._ready.appendleft(job)
        elif claim.retry_after_s is not None:
            self._pauses += 1
            due = self._clock.monotonic() + claim.retry_after_s
            heapq.heappush(self._paused, (due, self._pauses, job))
        elif self._busy:
            return  # nothing came back, and somebody is still at work: who waits goes on waiting
        self._wake()

    def waits_only_for(self, count: int) -> bool:
        """Whether nothing goes on but *count* jobs that are busy."""
        more = self._ready or self._paused or not self._exhausted
        return self._busy == count and (self.is_closed or self._blocked is not None or not more)

    def put(self, job: QueuedJob, after_s: float) -> None:
        """A job that something else than a worker brings back."""
        self._pauses += 1
        heapq.heappush(self._paused, (self._clock.monotonic() + after_s, self._pauses, job))
        self._wake()

    async def _next(self) -> QueuedJob | None:
        while not self.is_closed:
            changed, wait_s = self._changed, math.inf
            if not self._page_jobs():
                self._leave_to_others()
            elif self._blocked is None:
                if not self._exhausted and len(self._ready) < self._low():
                    await self._fill()
                    continue
                job, wait_s = self._pop()
                if job is not None:
                    self._busy += 1
                    return job
            is_idle = self._busy == 0 and (self._blocked is not None or not self._paused)
            if is_idle and not self._is_asking:
                await self._end_unless_shared(changed)
                continue
            self._sleepers += 1
            try:
                with anyio.move_on_after(wait_s):
                    await changed.wait()
            finally:
                self._sleepers -= 1
        return None

    async def _end_unless_shared(self, changed: anyio.Event) -> None:
        """Nothing is left here: end, unless other processes may still bring something."""
        if self._others_done is None:
            self.starved_by = self._blocked
            self.close()
            return
        self._is_asking = True
        try:
            is_done, why = await self._others_done(self._blocked or "")
            if changed.is_set() or self._busy:
                return
            if is_done:
                self.starved_by = self._blocked or why or None
                self.close()
                return
            with anyio.move_on_after(_LOOK_AGAIN_S):
                await changed.wait()
        finally:
            self._is_asking = False
        self.look_again()

    def _leave_to_others(self) -> None:
        """Nothing can be made here: who can make it finds what is not busy in the ledger."""
        self._ready.clear()
        self._paused.clear()

    def _low(self) -> int:
        """With fewer ready, more are read."""
        return max(self._page_jobs() // 5, 1)

    def _pop(self) -> tuple[QueuedJob | None, float]:
        """The next job, or how long until one is due."""
        if self._paused:
            wait_s = self._paused[0][0] - self._clock.monotonic()
            if wait_s <= 0:
                return heapq.heappop(self._paused)[2], 0.0
        else:
            wait_s = math.inf
        return (self._ready.popleft(), 0.0) if self._ready else (None, wait_s)

    async def _fill(self) -> None:
        async with self._reading:
            if len(self._ready) >= self._low() or self._exhausted:
                return
            most = self._page_jobs()
            jobs, self._cursor = await self._read_page(self._cursor, most)
            self._ready.extend(jobs)
            self._exhausted = len(jobs) < most
            if jobs and self._others_done is not None:
                self._wake()  # who found nothing before may find something now

    def _wake(self) -> None:
        if self._sleepers:
            self._changed.set()
            self._changed = anyio.Event()
