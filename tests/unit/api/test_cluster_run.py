"""A program's run on a cluster before there is one: options that cannot be meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

import fluxbatch
from fluxbatch.api.cluster_run import ClusterCall
from fluxbatch.cluster.ray_cluster import RayCluster
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.engine.placement.node_check import NodeQuestion
from fluxbatch.engine.placement.placed_run import PlacedRun
from fluxbatch.errors import ConfigError

_SHARED = "postgresql://flux@127.0.0.1:9/pictures/NIGHTLY"
_WHOLE: dict[str, Any] = {"on": "ray", "workers": 2, "run_name": "N"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"on": "slurm", "workers": 2}, "on='slurm': workers can be placed with on='ray' alone"),
        ({"workers": 2}, "workers without on"),
        ({**_WHOLE, "workers": -1}, "workers is -1; give a whole number of at least 0"),
        ({"on": "ray", "workers": 0}, "name the run"),
        ({"on": "ray"}, "say how many workers with workers=N"),
        ({"on": "ray", "workers": 2}, "name the run"),
        ({**_WHOLE, "keys": "secret-key"}, "not with keys; each node has its own"),
        ({**_WHOLE, "settings": {"limits.creates": 5}}, "not with settings"),
        ({**_WHOLE, "model": "flux-dev"}, "not with model"),
        ({**_WHOLE, "on_event": print}, "not with on_event; the workers go on by themselves"),
        ({**_WHOLE, "progress": True}, "not with progress"),
    ],
)
@pytest.mark.parametrize("is_twin", [False, True])
def test_options_that_do_not_go_with_a_cluster_are_refused(
    options: dict[str, Any], why: str, is_twin: bool
) -> None:
    """By the function, and by the twin of the method."""
    call: Callable[..., object] = partial(fluxbatch.run, out=_SHARED)
    if is_twin:
        call = fluxbatch.Dataset.open(_SHARED).sync.run
    with pytest.raises(ConfigError, match=re.escape(why)) as caught:
        call("rows.csv", **options)
    assert "secret-key" not in str(caught.value)


def test_rows_have_no_path_that_a_node_could_read() -> None:
    with pytest.raises(ConfigError, match="give a manifest or config by its path"):
        fluxbatch.run([{"prompt": "a pier"}], out=_SHARED, **_WHOLE)


def test_a_folder_instead_of_a_shared_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, which one process works on at a time"):
        fluxbatch.run("rows.csv", out=tmp_path / "folder", **_WHOLE)
    assert not (tmp_path / "folder").exists()


def test_a_worker_reaches_the_database_with_the_options_that_were_given() -> None:
    address = f"{_SHARED}?sslmode=require&target_session_attrs=read-write"
    call = ClusterCall.read(dataset_at(address), "rows.csv", _WHOLE)

    assert call.words()[:5] == ["run", "--yes", "rows.csv", "--out", address]


def test_the_workers_of_a_run_are_found_again_whatever_the_options() -> None:
    """
    Their names have none of it, or the run would be placed twice.
    """
    nobody, question = cast("RayCluster", None), NodeQuestion("", "", "", "", {}, "")
    titles = set()
    for address in (_SHARED, f"{_SHARED}?sslmode=require"):
        dataset = dataset_at(address)
        assert isinstance(dataset, SharedDataset)
        titles.add(PlacedRun(nobody, dataset, "N", [], question).placement.title)

    assert titles == {"fluxbatch NIGHTLY N b74c61d3"}
