"""A command on a real terminal: a pty, and an emulation of what is to be seen on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pyte

from tests.support.commands import KEY

_PATIENCE_S = 60.0


@dataclass(slots=True)
class Terminal:
    """What a command has drawn so far, and a keyboard."""

    process: subprocess.Popen[bytes]
    parent: int
    screen: pyte.HistoryScreen
    stream: pyte.ByteStream
    drawn: bytearray = field(default_factory=bytearray)
    """Every byte, control sequences and all."""

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without the blanks at the ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    @property
    def scrolled(self) -> int:
        """How many lines have left at the top."""
        return len(self.screen.history.top)

    def type(self, text: str) -> None:
        os.write(self.parent, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As a terminal does that cuts lines off; others wrap them anew."""
        _set_size(self.parent, columns, rows)
        self.screen.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def wait_for(self, is_there: str | Callable[[str], bool]) -> str:
        """Look until the screen shows a text, or pleases; answers what it shows then."""
        pleases = (lambda text: is_there in text) if isinstance(is_there, str) else is_there
        end_s = time.monotonic() + _PATIENCE_S
        while not pleases(self.text):
            assert time.monotonic() < end_s, f"too slow:\n{self.text}"
            assert self._look(), f"it ended first:\n{self.text}"
        return self.text

    def finish(self) -> int:
        """Look on until it has ended; answers its exit code."""
        while self._look():
            pass
        return self.process.wait(_PATIENCE_S)

    def _look(self) -> bool:
        """Take in what was drawn since; False where the other end is closed."""
        assert select.select([self.parent], [], [], _PATIENCE_S)[0], f"silence:\n{self.text}"
        with suppress(OSError):  # Linux: the other end is closed
            if drawn := os.read(self.parent, 65_536):
                self.drawn += drawn
                self.stream.feed(drawn)
                return True
        return False


@contextmanager
def on_terminal(
    *words: object, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`fluxbatch` with all its streams on a terminal; killed at the end where it still runs."""
    parent, child = pty.openpty()
    _set_size(child, columns, rows)
    environ = {name: value for name, value in os.environ.items() if name not in _OF_A_TERMINAL}
    environ |= {"TERM": "xterm-256color", "EACHLABS_API_KEY": KEY, **(env or {})}
    with subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", *map(str, words)],
        stdin=child, stdout=child, stderr=child, env=environ, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(child)
        screen = pyte.HistoryScreen(columns, rows, history=10_000)
        try:
            yield Terminal(process, parent, screen, pyte.ByteStream(screen))
        finally:
            if process.poll() is None:
                process.kill()
            os.close(parent)


_OF_A_TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "TTY_COMPATIBLE")
"""What a user may have set and a test should not hear."""


def _set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
