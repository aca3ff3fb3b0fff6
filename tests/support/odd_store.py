"""An S3 server that misbehaves as it is told: cut uploads, wrong bytes, tags of its own, delays."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class OddStore:
    """What it does, and what it has."""

    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: int = 0
    cuts: int = 0
    """So many uploads are cut off before they are read."""
    loses: int = 0
    """Bytes lost at the end of each object."""
    has_own_tags: bool = False
    """As where it encrypts with a key of the user's."""
    delay_s: float = 0.0

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


class _Handler(BaseHTTPRequestHandler):
    store: OddStore
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.store.puts += 1
        if self.store.puts <= self.store.cuts:
            self.close_connection = True
            return
        time.sleep(self.store.delay_s)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.store.objects[self.path] = body[: len(body) - self.store.loses]
        self._answer(200, b"", self._tag(body))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        body = self.store.objects.get(self.path)
        if body is None:
            self._answer(404, b"", "")
        else:
            self._answer(200, body, self._tag(body))

    def do_DELETE(self) -> None:
        self.store.objects.pop(self.path, None)
        self._answer(204, b"", "")

    def _tag(self, body: bytes) -> str:
        return hashlib.md5(body + b"x" * self.store.has_own_tags, usedforsecurity=False).hexdigest()

    def _answer(self, status: int, body: bytes, tag: str) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def odd_store() -> Iterator[OddStore]:
    store = OddStore()
    handler = type("Handler", (_Handler,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        store.address = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield store
        finally:
            server.shutdown()
            serving.join()
