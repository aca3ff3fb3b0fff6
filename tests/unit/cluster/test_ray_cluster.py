"""Addresses of Ray clusters that cannot be used, each with its remedy."""

from __future__ import annotations

import socket

import pytest

from fluxbatch.cluster.ray_cluster import ray_cluster
from fluxbatch.errors import ConfigError


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ray://head:10001", "is a client's: run this on a node of the cluster"),
        ("http://head:8265", "is a client's: run this on a node of the cluster"),
        ("head", "is not of the form HOST:PORT"),
        ("head:door", "is not of the form HOST:PORT"),
        ("local", "is no cluster: start one with `ray start --head`"),
        ("127.0.0.1:99999", "no Ray cluster answers at '127.0.0.1:99999'"),
    ],
)
def test_an_address_that_is_none_of_a_cluster_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, why: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError) as refused, ray_cluster():
        pass
    assert why in str(refused.value)
    assert "RAY_ADDRESS" in str(refused.value)


def test_a_port_where_nobody_listens_is_told_and_not_waited_for() -> None:
    """
    Ray itself would try for two minutes.
    """
    address = f"127.0.0.1:{closed_port()}"
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at '{address}'"):  # noqa: SIM117
        with ray_cluster(address):
            pass
