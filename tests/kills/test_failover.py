"""A standby that lacks the latest commits is promoted: nothing is paid twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from tests.kills.sharing import SharedRun
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.postgres_server import PostgresServer, postgres_server, server_folder
from tests.support.silent_proxy import SilentProxy, silent_proxy

pytestmark = pytest.mark.proof
_JOBS = 160


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """It follows, until its link to the primary falls silent."""
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.copy_of(primary)
        yield server
        with suppress(AssertionError):
            server.stop("immediate")


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    flags = ("--speed", "10", "--image-size", "64", "--duration", "60")
    with emulator_process(*flags, dialect="docs") as running:
        yield running


def _intents(server: PostgresServer, dataset: str) -> int:
    with psycopg.connect(server.url, autocommit=True) as connection:
        ((count,),) = connection.execute(f'SELECT count(*) FROM "{dataset}".predictions').fetchall()
        return int(count)


def _link(standby: PostgresServer, proxy: SilentProxy) -> None:
    """The standby hears of the primary through *proxy* alone."""
    with (standby.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = 'host=127.0.0.1 port={proxy.port} user=postgres'\n")


def test_what_a_promoted_standby_has_lost_is_not_bought_again(
    primary: PostgresServer, standby: PostgresServer, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Ten intents and more were answered as durable, and are gone with the primary.
    """
    with _running(primary, standby, emulator, tmp_path) as (run, fail_over):
        lost = fail_over()
        codes = run.finish(120)
        assert lost >= 10
        assert codes == [0, 0], run.logs()
        assert run.check(_JOBS)["billed"] == _JOBS


def test_nothing_is_bought_before_somebody_has_asked_with_the_key_of_every_account(
    primary: PostgresServer, standby: PostgresServer, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The machine that has the other keys is lost together with the server, and comes back later.
    What it had bought looks to everybody like jobs that nobody has.
    """
    emulator.faults(isolated=1)
    keys_of = {0: (0, 1), 1: (2,)}
    with _running(primary, standby, emulator, tmp_path, keys_of=keys_of) as (run, fail_over):
        lost = fail_over(dying=0)
        _wait_for(lambda: "no process at work has a key of it" in run.log(1).read_text())
        run.start(0)
        codes = run.finish(120)
        assert lost >= 10
        assert codes == [0, 0], run.logs()
        assert run.check(_JOBS)["billed"] == _JOBS


class _FailOver(Protocol):
    def __call__(self, *, dying: int | None = None) -> int:
        """Another server from now on; answers how many creates it does not know. Worker *dying*
        goes with the first."""


@contextmanager
def _running(
    primary: PostgresServer, standby: PostgresServer, emulator: EmulatorProcess, folder: Path,
    **more: Any,
) -> Iterator[tuple[SharedRun, _FailOver]]:  # fmt: skip
    """Two workers of a run whose standby follows, and what has it fail over."""
    with silent_proxy(primary.port) as link, silent_proxy(primary.port) as front:
        _link(standby, link)
        standby.start("hot_standby=on")
        run = SharedRun(
            folder, primary, emulator, accounts=3,
            url=f"postgresql://postgres@127.0.0.1:{front.port}/postgres",
            settings={"FLUXBATCH_PROVIDER__DEADLINE": "60"}, **more,
        )  # fmt: skip
        run.write(_JOBS)

        def fail_over(*, dying: int | None = None) -> int:
            _wait_for(lambda: emulator.stats()["created"] >= 20)
            link.silence()
            known = _intents(standby, run.dataset)
            _wait_for(lambda: emulator.stats()["created"] >= known + 25)
            primary.stop("immediate")
            if dying is not None:
                run.kill(dying)
            standby.promote()
            lost = emulator.stats()["created"] - _intents(standby, run.dataset)
            front.turn_to(standby.port)
            run.server = standby
            return int(lost)

        try:
            for worker in range(2):
                run.start(worker)
            yield run, fail_over
        finally:
            run.end()


def _wait_for(condition: object, timeout_s: float = 60.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.05)
