"""A standby that lacks the latest commits is promoted: nothing is paid twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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
    with silent_proxy(primary.port) as link, silent_proxy(primary.port) as front:
        _link(standby, link)
        standby.start("hot_standby=on")
        run = SharedRun(
            tmp_path, primary, emulator, accounts=3,
            url=f"postgresql://postgres@127.0.0.1:{front.port}/postgres",
            settings={"FLUXBATCH_PROVIDER__DEADLINE": "60"},
        )  # fmt: skip
        run.write(_JOBS)
        try:
            for worker in range(2):
                run.start(worker)
            _wait_for(lambda: emulator.stats()["created"] >= 20)
            link.silence()
            known = _intents(standby, run.dataset)
            _wait_for(lambda: emulator.stats()["created"] >= known + 25)
            primary.stop("immediate")
            standby.promote()
            lost = emulator.stats()["created"] - _intents(standby, run.dataset)
            front.turn_to(standby.port)
            run.server = standby
            codes = run.finish(120)
            assert lost >= 10
            assert codes == [0, 0], run.logs()
            assert run.check(_JOBS)["billed"] == _JOBS
        finally:
            run.end()


def _wait_for(condition: object, timeout_s: float = 60.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.05)
