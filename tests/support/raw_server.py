"""A TCP server that does exactly what a test says, byte by byte, and keeps what it received."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener


@dataclass
class Conversation:
    """One connection."""

    stream: ByteStream
    received: bytearray = field(default_factory=bytearray)

    async def request(self) -> bytes:
        """Read one whole request; empty when the peer left without one."""
        data = bytearray()
        try:
            while b"\r\n\r\n" not in data:
                data += await self._more()
            head, _, body = bytes(data).partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            missing = int(length[1]) - len(body) if length else 0
            while missing > 0:
                chunk = await self._more()
                data += chunk
                missing -= len(chunk)
        except anyio.EndOfStream:
            pass
        return bytes(data)

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def answer(self, body: bytes = b"{}", *, head: str = "200 OK", more: str = "") -> None:
        await self.send(
            f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body
        )

    def reset(self) -> None:
        """Make closing the connection a reset."""
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _more(self) -> bytes:
        chunk = await self.stream.receive()
        self.received += chunk
        return chunk


Handler = Callable[[Conversation], Awaitable[None]]


@dataclass
class RawServer:
    port: int
    scheme: str = "http"
    conversations: list[Conversation] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def received(self) -> bytes:
        """Every byte of every connection."""
        return b"".join(bytes(c.received) for c in self.conversations)


@asynccontextmanager
async def raw_server(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Run *handler* for every connection; its end closes the connection."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        port = listener.extra(SocketAttribute.local_port)
        server = RawServer(port, "http" if tls is None else "https")

        async def converse(stream: ByteStream) -> None:
            conversation = Conversation(stream)
            server.conversations.append(conversation)
            async with stream:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await handler(conversation)  # or the client left first, as some tests want

        if tls is None:
            group.start_soon(listener.serve, converse)
        else:
            secured = TLSListener(listener, tls, standard_compatible=False)
            group.start_soon(secured.serve, converse)
        yield server
        group.cancel_scope.cancel()
