"""The reason a run submits no more, and its exit code.

When several reasons hold, the one whose code comes first in docs/design/protocol.md 6 wins.
Stopping only ends creates: what runs is awaited, what is generated is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxbatch.errors import ExitCode
from fluxbatch.events import Events, Stopping

_ORDER = (
    ExitCode.USAGE,
    ExitCode.HELD,
    ExitCode.ERROR,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.NO_KEY,
    ExitCode.UNKNOWN_LEFT,
    ExitCode.STOPPED,
)


class Stop:
    """Set once or more; the gravest reason stays."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._webhooks: list[Callable[[], None]] = []
        self.code: ExitCode | None = None
        self.reason = ""

    def on_stop(self, hook: Callable[[], None]) -> None:
        self._webhooks.append(hook)

    def __call__(self, code: ExitCode, reason: str) -> None:
        if self.code is not None and _ORDER.index(self.code) <= _ORDER.index(code):
            return
        self.code, self.reason = code, reason
        self._events.emit(Stopping(reason))
        for hook in self._webhooks:
            hook()
