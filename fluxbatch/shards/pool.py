"""The pool of shards: one seam between heavy work and the places where it is done.

Owns the order: results come as the shards went in, whoever was first. A shard and its result are
values that can be pickled, the work is a function of a module, and doing it twice is as good as
once. What the work is and where it is done, it does not know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self, TypeVar

from fluxbatch.errors import FluxbatchError

_S = TypeVar("_S")
_R = TypeVar("_R")


class ShardLost(FluxbatchError):
    """A shard's work was ended from outside, each time that it was tried."""


class ShardPool(Protocol):
    """Where shards are worked on. Used as a context: nothing of it goes on afterwards."""

    @property
    def at_once(self) -> int:
        """Shards that can be worked on side by side."""
        ...

    @property
    def is_inline(self) -> bool:
        """Whether the caller's own process does the work."""
        ...

    @property
    def is_elsewhere(self) -> bool:
        """Whether other machines do, which may see other disks."""
        ...

    def ask(self, work: Callable[[_S], _R], shard: _S) -> _R:
        """*work* done with *shard*: raises what it raises, `ShardLost` where it cannot be had.
        Blocks; may be called from several threads."""

    def everywhere(self, work: Callable[[_S], _R], shard: _S) -> list[tuple[str, _R]]:
        """*work* done once on each machine that shards may come to, with that machine's name; none
        where no other machine works."""

    def interrupt(self) -> None:
        """End what is being worked on: whoever asked has an error at once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class InlinePool:
    """The caller's own process and thread."""

    at_once = 1
    is_inline = True
    is_elsewhere = False

    def ask(self, work: Callable[[_S], _R], shard: _S) -> _R:
        return work(shard)

    def everywhere(self, work: Callable[[_S], _R], shard: _S) -> list[tuple[str, _R]]:
        return []

    def interrupt(self) -> None:
        """Whoever asks is at work himself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


INLINE = InlinePool()


def map_shards(pool: ShardPool, work: Callable[[_S], _R], shards: Iterable[_S]) -> Generator[_R]:
    """*work* done with each of *shards*, the results in their order.

    *shards* is read a little ahead of the results. Closed or failed, nothing is worked on any more
    when this returns.
    """
    if pool.is_inline:
        for shard in shards:
            yield pool.ask(work, shard)
        return
    asked: deque[Future[_R]] = deque()
    with ThreadPoolExecutor(pool.at_once, "shards") as threads:
        try:
            for shard in shards:
                asked.append(threads.submit(pool.ask, work, shard))
                while asked and (asked[0].done() or len(asked) > 2 * pool.at_once):
                    yield asked.popleft().result()
            while asked:
                yield asked.popleft().result()
        except BaseException:
            for one in asked:
                one.cancel()
            pool.interrupt()
            raise
