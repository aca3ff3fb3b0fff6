"""A PgBouncer in transaction mode before a PostgreSQL: each transaction may get another session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres_server import PostgresServer, server_folder

ABSENT = "there is no pgbouncer on this machine (Debian's package pgbouncer)"
_START_S = 20
_USER = "pgserver"
_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
server_reset_query = DISCARD ALL
server_reset_query_always = 1
logfile = {folder}/log
pidfile = {folder}/pid
"""


def program() -> str | None:
    """Where it is, also where the path of a user does not lead."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooled(server: PostgresServer, sessions: int) -> Iterator[str]:
    """The pooler's `postgresql://` address; all who come share so many sessions of the server."""
    found = program()
    assert found is not None, ABSENT
    with server_folder() as folder:
        port = _free_port()
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(server_port=server.port, port=port, sessions=sessions, folder=folder)
        )
        (folder / "users").write_text('"postgres" ""\n')
        user = _USER if os.geteuid() == 0 else None  # it refuses to be root
        if user is not None:
            shutil.chown(folder, user)
        with subprocess.Popen(
            [found, str(settings)],
            user=user,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                _wait_for(process, folder, port)
                yield server.url.replace(f":{server.port}", f":{port}")
            finally:
                process.kill()


def _wait_for(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    give_up = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            log = folder / "log"
            told = log.read_text() if log.exists() else ""
            assert process.poll() is None, told
            assert time.monotonic() < give_up, told
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
