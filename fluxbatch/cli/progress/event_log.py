"""The event log: one line for each event, in a file or on stderr.

Owns the two formats. Every line passes the one redaction, `Console.redact`; ids of the run,
job and prediction are in it, so that a line finds its row in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from fluxbatch.cli.console import Console
from fluxbatch.cli.progress.progress import event_words
from fluxbatch.config.settings import Log
from fluxbatch.errors import ConfigError
from fluxbatch.events import EVENT_NAMES, WARNINGS, Event, RowsRead, RunStarted, event_fields


@contextmanager
def event_log(console: Console, log: Log) -> Iterator[EventLog | None]:
    """The log of one invocation: in its file, or as JSON on stderr; None where nobody asked.

    Raises `ConfigError` where the file cannot be opened: before anything is spent.
    """
    if log.file is None:
        yield EventLog(console.warn, console, log.format) if log.format == "json" else None
        return
    path = Path(log.file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as exc:
        raise ConfigError(f"log.file: cannot write {str(path)!r}: {exc.strerror}") from exc
    with suppress(OSError), file:  # closing writes what a full disk did not take
        yield EventLog(_Lines(file, console).add, console, log.format)


class _Lines:
    """A file that takes lines. One that cannot be written ends no run; it is said once."""

    def __init__(self, file: TextIO, console: Console) -> None:
        self._file = file
        self._console = console
        self._is_broken = False

    def add(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
        except OSError as exc:
            if not self._is_broken:
                self._is_broken = True
                self._console.warn(
                    f"note: the log {self._file.name!r} is not written: {exc.strerror}"
                )


class EventLog:
    """Writes every event as one line."""

    def __init__(
        self,
        write: Callable[[str], None],
        console: Console,
        style: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._write = write
        self._console = console
        self._style = style
        self._now = now
        self._run = ""

    def hear(self, event: Event, /) -> None:
        if isinstance(event, RowsRead) and not event.finished:
            return
        if isinstance(event, RunStarted):
            self._run = event.run_id
        at = f"{self._now():%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        level = "warning" if isinstance(event, WARNINGS) else "info"
        if self._style == "json":
            values = {"at": at, "level": level, "event": EVENT_NAMES[type(event)], "run": self._run}
            line = json.dumps(values | event_fields(event), ensure_ascii=False, default=str)
        else:
            of_run = f" run={self._run}" if self._run else ""
            line = f"{at} {level:7} {_text(event)}{of_run}"
        self._write(self._console.redact(line).replace("\n", " "))


def _text(event: Event) -> str:
    """A sentence where there is one, then the facts that it does not name."""
    facts = " ".join(f"{name}={value}" for name, value in event_fields(event).items())
    return event_words(event) or f"{EVENT_NAMES[type(event)]} {facts}"
