"""A TCP proxy that can fall silent: nothing is refused and nothing answers, as at a cut cable."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BLOCK = 65_536


class SilentProxy:
    """Passes bytes on to a port of this machine, unless it is silent."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._speaking = threading.Event()
        self._speaking.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._sockets: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        self._speaking.clear()

    def speak(self) -> None:
        """What was held back goes on its way."""
        self._speaking.set()

    def turn_to(self, upstream: int) -> None:
        """From now on it leads to another port; who was connected is so no more."""
        self._upstream = upstream
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.speak()
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._speaking.wait()
                try:
                    far = socket.create_connection(("127.0.0.1", self._upstream))
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(_BLOCK):
                self._speaking.wait()
                to.sendall(block)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_proxy(upstream: int) -> Iterator[SilentProxy]:
    """In front of that port of this machine."""
    proxy = SilentProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
