"""The progress bar of a run that was begun from Python: in a notebook by itself, else if asked for.

Owns when there is one and what it says; the figures are a status's. It is tqdm's, an extra: without
it a notebook shows none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.errors import ConfigError

_OnStatus = Callable[[RunStatus], None]


@contextmanager
def progress_bar(wanted: bool | None, on_status: _OnStatus | None) -> Iterator[_OnStatus | None]:
    """What a run is to call with its statuses: the bar first, then *on_status*.

    *wanted* None: in a notebook only. Raises `ConfigError` where one is asked for and tqdm is
    not there.
    """
    if wanted is False or (wanted is None and not in_notebook()):
        yield on_status
        return
    kind = _tqdm(is_required=bool(wanted))
    if kind is None:
        yield on_status
        return
    bar = _Bar(kind)

    def show(status: RunStatus) -> None:
        bar.show(status)
        if on_status is not None:
            on_status(status)

    try:
        yield show
    finally:
        bar.close()


def in_notebook() -> bool:
    """Whether a cell of a notebook calls; nothing is imported to find out."""
    shell_of = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = shell_of() if shell_of is not None else None
    return getattr(shell, "kernel", None) is not None


class _Bar:
    """Jobs that have ended, of all; made with the first status, which knows how many."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._bar: Any = None

    def show(self, status: RunStatus) -> None:
        jobs = status.jobs
        failed = jobs.of(JobState.FAILED)
        ended = jobs.of(JobState.DONE) + failed
        if self._bar is None:
            self._bar = self._kind(total=jobs.total, initial=ended, unit="job", leave=True)
        words = [f"{status.run.images:,} images", f"{dollars(status.run.spent)} spent"]
        words += [f"{failed:,} failed"] * bool(failed) + [status.stopping] * bool(status.stopping)
        self._bar.n = ended
        self._bar.set_postfix_str(", ".join(words), refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _tqdm(*, is_required: bool) -> Any:
    """Its class for where we are; None where it is not installed and need not be."""
    try:
        return import_module("tqdm.auto").tqdm
    except ImportError:
        if not is_required:
            return None
        raise ConfigError(
            "a progress bar needs tqdm: pip install 'fluxbatch-engine[notebook]'"
        ) from None
