"""The hosts of a ledger's server that do not answer: how long that takes, and what is said."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

from fluxbatch.errors import DatabaseFailed, ExitCode
from fluxbatch.ledger.db import server_hosts
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.server_hosts import is_all_silence, seconds_per_address


@pytest.fixture
def silent() -> Iterator[list[int]]:
    """The ports of two servers that take connections and say nothing."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in found:
            one.bind(("127.0.0.1", 0))
            one.listen()
        yield [one.getsockname()[1] for one in found]


@pytest.mark.parametrize(
    ("host", "each_s"),
    [("10.0.0.1", 10), ("10.0.0.1,10.0.0.2", 5), ("10.0.0.1,10.0.0.2,10.0.0.3", 3),
     (",".join(["10.0.0.1"] * 20), 2), ("/tmp", 10)],
)  # fmt: skip
def test_several_hosts_take_no_longer_than_one(host: str, each_s: int) -> None:
    """
    No shorter than the driver can; a shorter limit of the user's own holds.
    """
    parts = {"host": host, "port": "5432"}
    assert seconds_per_address(parts) == each_s
    assert seconds_per_address(parts | {"connect_timeout": "2"}) == 2
    assert seconds_per_address(parts | {"connect_timeout": "60"}) == each_s


def test_a_host_of_several_addresses_is_counted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: object, **__: object) -> list[object]:
        return [object(), object()]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert seconds_per_address({"host": "db.example.com"}) == 5
    several = {"host": "db.example.com", "target_session_attrs": "prefer-standby"}
    assert seconds_per_address(several) == 2


def test_hosts_that_do_not_answer_are_named(
    silent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    All within the time for one; a server that is down is waited for, so it is no wrong use.
    """
    monkeypatch.setattr(server_hosts, "_ALL_S", 4)
    hosts = [f"127.0.0.1:{port}" for port in silent]
    began_s = monotonic()
    with pytest.raises(DatabaseFailed) as caught:
        PostgresDatabase(f"postgresql://me@{','.join(hosts)}/db", "night")
    assert monotonic() - began_s < 6
    assert f"no answer from '{hosts[0]}' and '{hosts[1]}' within 4 s" in str(caught.value)
    assert "firewall" in str(caught.value)
    assert caught.value.exit_code is ExitCode.ERROR


def test_a_host_that_refuses_is_not_told_as_silent() -> None:
    expired = "connection timeout expired"
    several = f"{expired}\nMultiple connection attempts failed. All failures were:\n"
    assert is_all_silence(expired)
    assert is_all_silence(f"{several}- host: 'a': {expired}\n- host: 'b': {expired}")
    assert not is_all_silence(f"{several}- host: 'a': refused\n- host: 'b': {expired}")
