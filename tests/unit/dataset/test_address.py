"""The address of a dataset: a folder, or a name in a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.shared_dataset import SharedDataset
from fluxbatch.errors import ConfigError

_SECRET = "s3cr3tw0rd"


@pytest.mark.parametrize(
    ("text", "server", "name"),
    [
        ("postgresql://host/db/night", "postgresql://host/db", "night"),
        ("postgresql://me@host:5433/db/night", "postgresql://me@host:5433/db", "night"),
        ("postgres://host/db/night", "postgresql://host/db", "night"),
        ("PostgreSQL://host/db/a%20b", "postgresql://host/db", "a b"),
        (
            "postgresql://host/db/night?sslmode=require",
            "postgresql://host/db?sslmode=require",
            "night",
        ),
        ("postgresql://%2Ftmp%2Fsocket/db/night", "postgresql://%2Ftmp%2Fsocket/db", "night"),
    ],
)
def test_an_address_names_a_server_and_a_dataset(text: str, server: str, name: str) -> None:
    """
    Whether it was a text or a path, which makes one slash of two.
    """
    for place in (text, Path(text)):
        dataset = dataset_at(place)
        assert isinstance(dataset, SharedDataset)
        assert (dataset.server, dataset.dataset) == (server, name)


def test_the_address_is_told_as_it_can_be_used_again() -> None:
    dataset = dataset_at("postgresql://me@host/db/night?sslmode=require")
    assert dataset.address == "postgresql://me@host/db/night"
    assert dataset_at(dataset.address).root == dataset.root


@pytest.mark.parametrize("text", ["d", "/tmp/d", "C:/d", "postgresql"])
def test_anything_else_is_a_folder(text: str) -> None:
    assert dataset_at(text) == Folder(Path(text))


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{_SECRET}@host/db/night",
        f"postgresql://{_SECRET}@me@host/db/night",
        f"postgresql://host/db/night?password={_SECRET}",
        f"postgresql://host/db/night?PASSWORD={_SECRET}",
        f"postgresql://host/db/night?sslpassword={_SECRET}",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        dataset_at(text)
    assert _SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://host/{_SECRET}",
        f"postgresql:///db/{_SECRET}",
        f"postgresql://host/db/night/{_SECRET}",
        f"postgresql://host/db/night?{_SECRET}",
    ],
)
def test_a_malformed_address_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataset_at(text)
    assert _SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["fluxbatch", "pg_night", "n" * 64])
def test_a_name_that_postgres_cannot_keep_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot have the name"):
        dataset_at(f"postgresql://host/db/{name}")
