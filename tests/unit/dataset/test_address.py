"""The address of a dataset: a folder, or a name in a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

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


@pytest.mark.parametrize(
    "options",
    ["", "?sslmode=require", "?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem&application_name=",
     "?host=/var/run/postgresql&options=-c%20statement_timeout%3D4s"],
)  # fmt: skip
def test_the_address_is_told_as_it_can_be_used_again(options: str) -> None:
    """
    Whoever gets it, a worker on another machine or a hook, reaches the server the same way.
    """
    address = f"postgresql://me@host/db/a%2Fb{options}"
    dataset = dataset_at(address)
    assert dataset.address == address
    assert dataset_at(dataset.address) == dataset
    assert dataset_at(Path(dataset.address)) == dataset


def test_a_dataset_is_one_however_its_server_is_reached() -> None:
    """
    What is kept of it, and what others compare, has no options.
    """
    plain = dataset_at("postgresql://me@host/db/night")
    other = dataset_at("postgresql://me@host/db/night?sslmode=require")
    assert plain.name == other.name == "postgresql://me@host/db/night"
    assert plain.root == other.root
    assert plain.ledger_place == other.ledger_place == plain.name


@pytest.mark.parametrize(
    "name",
    ["a/b", "50%", "%2F", "a#b", "a?b", "a&b=c", "me@home", " night ", "it's \"it\"",
     "\u201cx\u201d", "nuit d\u00e9t\u00e9", "a b", "a:b", "\u706b\u7bad \U0001f680", "a\\b"],
)  # fmt: skip
def test_whatever_its_name_the_address_as_it_is_told_leads_there(name: str) -> None:
    first = dataset_at(f"postgresql://me@host/db/{quote(name, safe='')}")
    assert first.short_name == name
    again = dataset_at(first.address)
    assert again == first


def test_a_plain_name_is_told_as_it_is() -> None:
    address = "postgresql://me@host/db/nuit d\u00e9t\u00e9"
    assert dataset_at(address).address == address


@pytest.mark.parametrize(
    "sign", ["\n", "\r", "\x1b[31m", "\x07", "\x9b", "\u2028", "\u202e", "\x7f"]
)
def test_a_name_that_would_steer_a_terminal_is_refused(sign: str) -> None:
    with pytest.raises(ConfigError, match="steers a terminal") as caught:
        dataset_at(f"postgresql://host/db/a{quote(sign)}b")
    assert sign not in str(caught.value)


@pytest.mark.parametrize("place", ["me%0A@host/db", "ho%1Bst/db", "host/d%0Ab"])
def test_no_other_part_of_an_address_steers_a_terminal(place: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form"):
        dataset_at(f"postgresql://{place}/night")


@pytest.mark.parametrize("name", ["%fe", "%ff", "night%80", "%C3"])
def test_a_name_that_is_not_text_is_refused(name: str) -> None:
    """
    Two of them would be one ledger.
    """
    with pytest.raises(ConfigError, match="NAME in the address is not text"):
        dataset_at(f"postgresql://host/db/{name}")


@pytest.mark.parametrize(
    "text",
    ["d", "/tmp/d", "C:/d", "postgresql", "postgres-16/night", "a:b", "me@home", "me@home/12:30",
     "2026-01-01T10:30/x", "host=gpu1/port=3", "user=me/date=2026", "lr=0.1,steps=20", "pass=2",
     " d ", "night's \"best\"", "x#y", "a?b", "gpu:0/a/b", "a.b/c/d", "me@host:dir",
     "/tmp/postgresql:/x", "/data/a:b@c/d"],
)  # fmt: skip
def test_anything_else_is_a_folder(text: str) -> None:
    assert dataset_at(text) == Folder(Path(text))


@pytest.mark.parametrize(
    "text",
    [
        f" postgresql://me:{_SECRET}@host/db/night",
        f"\tpostgresql://me:{_SECRET}@host/db/night",
        f"\ufeffpostgresql://me:{_SECRET}@host/db/night",
        f'"postgresql://me:{_SECRET}@host/db/night"',
        f"\u201cpostgresql://me:{_SECRET}@host/db/night\u201d",
        f"\u00abPOSTGRES://me:{_SECRET}@host/db/night\u00bb",
        f"<postgresql://me:{_SECRET}@host/db/night>",
        f"postgresql\uff1a//me\uff1a{_SECRET}\uff20host/db/night",
        f"jdbc:postgresql://me:{_SECRET}@host/db/night",
        f"jdbc:postgresql://host/db?user=me&password={_SECRET}",
        f"postgresql+psycopg://me:{_SECRET}@host/db/night",
        f"postgresq://me:{_SECRET}@host/db/night",
        f"pgsql://me:{_SECRET}@host/db/night",
        f"postgresql:me:{_SECRET}@host/db/night",
        f"postgresql//me:{_SECRET}@host/db/night",
        f"postgresql:\\\\me:{_SECRET}@host\\db\\night",
        f"://me:{_SECRET}@host/db/night",
        f"//me:{_SECRET}@host/db/night",
        f"/me:{_SECRET}@host/db/night",
        f"/data/postgresql://me:{_SECRET}@host/db/night",
        f"me:{_SECRET}@host/db/night",
        f"me:12/{_SECRET}@host/db/night",
        f"me%3A{_SECRET}@host/db/night",
        f"host=127.0.0.1 user=me password={_SECRET} dbname=db",
        f"HOST=127.0.0.1 USER=me PASSWORD = {_SECRET}",
        f"Server=127.0.0.1;User Id=me;Pwd={_SECRET}",
        f"PGPASSWORD={_SECRET}",
        f" postgresql://{_SECRET}@host/db/night",
        f"\u2018postgresql://{_SECRET}@host/db/night\u2019",
        f"postgresql:{_SECRET}@host/db/night",
        f"postgresql//{_SECRET}@host/db/night",
        f"postgresql//db.example.com/db/{_SECRET}",
        f"{_SECRET}@host:5432/db/night",
        f"db.example.com:5432/db/{_SECRET}",
        f"host=127.0.0.1 user={_SECRET}",
    ],
)
def test_what_is_nearly_an_address_is_no_folder_and_not_repeated(text: str) -> None:
    """
    As a text and as a path; the right form is told, and where a password belongs.
    """
    for place in (text, Path(text)):
        with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
            dataset_at(place)
        assert "postgresql://[USER@]HOST[:PORT]/DATABASE/NAME" in str(caught.value)
        assert _SECRET not in str(caught.value)


def test_a_folder_that_looks_like_an_address_is_taken_by_its_whole_path() -> None:
    for text in ("a:b@c/d", "me@host:5432/x"):
        with pytest.raises(ConfigError, match="whole path"):
            dataset_at(text)
        assert dataset_at(f"/data/{text}") == Folder(Path(f"/data/{text}"))


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{_SECRET}@host/db/night",
        f"postgresql://{_SECRET}@me@host/db/night",
        f"postgresql://host/db/night?password={_SECRET}",
        f"postgresql://host/db/night?PASSWORD={_SECRET}",
        f"postgresql://host/db/night?sslpassword={_SECRET}",
        f"postgresql://host/db/night?pass%77ord={_SECRET}",
        f"postgresql://host/db/night?pwd={_SECRET}",
        f"postgresql://host/db/night?oauth_client_secret={_SECRET}",
        f"postgresql://host/db/night?scram_client_key={_SECRET}",
        f"postgresql://me%3A{_SECRET}@host/db/night",
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
        f"postgresql://host/db/night#{_SECRET}",
        f"postgresql://host/db/night&password={_SECRET}",
        f"postgresql://host/db/night'{_SECRET}",
        f"postgresql://host/db/{_SECRET} ",
        f"postgresql://host/db/{_SECRET}\x1b",
        f"postgresql://host/db:{_SECRET}/night",
        f"postgresql://[::1:{_SECRET}/db/night",
        f"postgresql://host:{_SECRET}/db/night",
        f"postgresql://host:5432:{_SECRET}/db/night",
        f"postgresql://host/db/night?port={_SECRET}",
        f"postgresql://host/db/night?hostaddr={_SECRET}",
        f"postgresql://host/db/night?{_SECRET}=1",
        f"postgresql://host/db/night?sslmode={_SECRET}",
        f"postgresql://host/db/night?sslmode=require&sslmode={_SECRET}",
        f"postgresql://host/db/night?channel_binding={_SECRET}",
        f"postgresql://host/db/night?target_session_attrs={_SECRET}",
        f"postgresql://host/db/night?require_auth={_SECRET}",
        f"postgresql://host/db/night?connect_timeout={_SECRET}",
        f"postgresql://host/db/night?options=-c%20{_SECRET}",
    ],
)
def test_a_malformed_address_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataset_at(text)
    assert _SECRET not in str(caught.value)
    assert "PGPASSWORD" in str(caught.value)


@pytest.mark.parametrize("port", ["0", "65536", "99999", "5432x"])
def test_a_port_that_there_is_not_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match=r"the port .* from 1 to 65535"):
        dataset_at(f"postgresql://host:{port}/db/night")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://[::1]:5432/db/night",
        "postgresql://a,b:5433/db/night?target_session_attrs=read-write",
        "postgresql://me%40example.com@host/db/night",
        "postgresql://host/db/night:1",
        "postgresql://host/db/night?options=-c%20geqo%3Doff%20--work_mem%3D1MB&hostaddr=::1",
        "postgresql://host/db/night?options=endpoint%3Dcool-name&connect_timeout=3",
        "postgresql://host/db/night?sslmode=verify-full&sslrootcert=system",
    ],
)
def test_what_postgres_knows_may_be_in_an_address(text: str) -> None:
    assert isinstance(dataset_at(text), SharedDataset)


@pytest.mark.parametrize("name", ["fluxbatch", "pg_night", "n" * 64])
def test_a_name_that_postgres_cannot_keep_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot have the name"):
        dataset_at(f"postgresql://host/db/{name}")
