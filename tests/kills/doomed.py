"""`fluxbatch` that kills itself with -9 right after a named change has become durable.

The change is `<what>:<n>`: the n-th time a prediction reached that state (`running:3`), an
output was stored (`stored:2`) or a job done (`done:1`). Everything else is the real command.
"""

from __future__ import annotations

import os
import signal
import sys

from fluxbatch.cli import main
from fluxbatch.events import Event, Events, OutputStored, PredictionMoved


def _names(event: Event) -> set[str]:
    if isinstance(event, PredictionMoved):
        return {str(event.state), f"job-{event.job_state}"}
    if isinstance(event, OutputStored):
        return {"stored", "done"} if event.job_done else {"stored"}
    return set()


class _Reaper:
    def __init__(self, die_at: str) -> None:
        self._what, _, count = die_at.partition(":")
        self._left = int(count)

    def __call__(self, event: Event) -> None:
        if self._what in _names(event):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_emit = Events.emit
_reaper = _Reaper(sys.argv[1])


def _doomed_emit(events: Events, event: Event) -> None:
    _reaper(event)
    _emit(events, event)


if __name__ == "__main__":
    Events.emit = _doomed_emit  # type: ignore[assignment, method-assign]  # all that differs
    sys.exit(main(sys.argv[2:]))
