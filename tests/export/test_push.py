"""`fluxbatch push` by the real client of the Hub, against a stand-in over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.export.consumers import consumed
from tests.export.made import files_of, made_dataset, row
from tests.support.commands import Ended, fluxbatch
from tests.support.hub import TOKEN, Hub, hub_process

pytestmark = pytest.mark.proof

NAME = "somebody/lighthouses"
URL = f"hf://datasets/{NAME}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_process() as running:
        yield running


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return made(tmp_path / "d", 6)


def made(root: Path, count: int, *, kind: str = "png") -> Path:
    rows = [
        row(n, f"r{n}", meta={"split": "test" if n % 3 == 0 else "train"})
        for n in range(1, count + 1)
    ]
    with made_dataset(root, rows) as maker:
        for one in rows:
            maker.done(one, kind)
    return root


def push(hub: Hub, dataset: Path, *more: object, url: str = URL, **env: str) -> Ended:
    return fluxbatch(
        "push", dataset, url, "--json", *more, env={**hub.environment, **env}, timeout=300
    )


def card_of(hub: Hub) -> dict[str, Any]:
    header = hub.content(NAME, "README.md").decode().split("---\n")[1]
    told: dict[str, Any] = yaml.safe_load(header)
    return told


@pytest.mark.parametrize("form", ["parquet", "imagefolder", "webdataset", "jsonl", "csv"])
def test_what_is_pushed_is_the_export(hub: Hub, dataset: Path, form: str) -> None:
    """
    Byte for byte, with a card that says what it is; again, nothing is sent. It is private.
    """
    first = push(hub, dataset, "--format", form)
    again = push(hub, dataset, "--format", form)
    local = files_of(dataset / "exports" / "hub" / form)

    assert first.code == again.code == 0, first.err + again.err
    repo = hub.repo(NAME)
    ours = {name for name in local if not name.startswith(".fluxbatch/")}
    assert set(repo["files"]) == {*ours, ".fluxbatch/export.json"}
    assert all(hub.content(NAME, name) == local[name] for name in ours)
    assert repo["private"]
    assert first.object["files"] == {"uploaded": len(ours), "unchanged": 0, "removed": 0}
    assert again.object["files"] == {"uploaded": 0, "unchanged": len(ours), "removed": 0}
    assert (again.object["commits"], again.object["bytes"]) == (0, 0)
    assert len(repo["commits"]) == 2


@pytest.mark.parametrize("form", ["parquet", "imagefolder", "webdataset"])
def test_datasets_loads_what_is_pushed(hub: Hub, dataset: Path, tmp_path: Path, form: str) -> None:
    """
    By the dataset's name alone, from the stand-in.
    """
    push(hub, dataset, "--format", form)
    splits = consumed("datasets_card", NAME, tmp_path / "cache", hub.environment)
    image = "png" if form == "webdataset" else "image"

    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4, "test": 2}
    assert len({row[image] for rows in splits.values() for row in rows}) == 6


def test_the_card_says_what_it_is_and_not_what_it_cost(hub: Hub, dataset: Path) -> None:
    """
    Neither do the rows; both do where they are asked to.
    """
    push(hub, dataset, "--license", "cc-by-4.0", "--format", "jsonl")
    card = card_of(hub)
    text = hub.content(NAME, "README.md").decode()
    rows = [json.loads(line) for line in hub.content(NAME, "train-000000.jsonl").splitlines()]

    assert card["license"] == "cc-by-4.0"
    assert card["task_categories"] == ["text-to-image"]
    assert card["source_datasets"] == ["original"]
    assert card["size_categories"] == ["n<1K"]
    assert [one["split"] for one in card["configs"][0]["data_files"]] == ["test", "train"]
    assert "6 images in 6 rows" in text
    assert "$" not in text
    assert {row["cost_usd"] for row in rows} == {None}

    push(hub, dataset, "--with-costs", "--format", "jsonl")
    told = hub.content(NAME, "train-000000.jsonl").splitlines()
    assert "$0.15 in 6 predictions" in hub.content(NAME, "README.md").decode()
    assert json.loads(told[0])["cost_usd"] == "0.025"


def test_the_client_reads_the_card_as_valid(hub: Hub, dataset: Path) -> None:
    push(hub, dataset)
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.DatasetCard(hub.content(NAME, "README.md").decode())

    assert card.data.task_categories == ["text-to-image"]
    assert card.data.configs[0]["config_name"] == "default"
    assert card.data.pretty_name == "d"


def test_only_what_changed_is_sent(hub: Hub, tmp_path: Path) -> None:
    """
    Three rows less: one shard, the card and the metadata are sent, one shard stays, one goes.
    """
    folder = tmp_path / "d"
    push(hub, made(folder, 6), "--shard-size", "2")
    before = hub.repo(NAME)["files"]
    changed = push(hub, folder, "--shard-size", "2", "--where", "row<=3")
    after = hub.repo(NAME)["files"]

    assert changed.object["files"] == {"uploaded": 3, "unchanged": 1, "removed": 1}
    assert set(before) - set(after) == {"train-000001.parquet"}
    assert before["train-000000.parquet"] == after["train-000000.parquet"]


def test_a_commit_that_fails_is_told_and_the_next_push_goes_on(hub: Hub, dataset: Path) -> None:
    """
    What was uploaded before it is not uploaded again.
    """
    hub.fail_commits(1)
    failed = push(hub, dataset, "--format", "imagefolder")
    again = push(hub, dataset, "--format", "imagefolder")

    assert failed.code == 1
    assert "the Hub refused a push to 'somebody/lighthouses' (500): out of order" in failed.err
    assert "run the same command to go on" in failed.err
    assert again.code == 0
    assert set(hub.arrivals().values()) == {1}


def test_a_dataset_of_others_is_refused(hub: Hub, dataset: Path) -> None:
    """
    And one that was pushed in another format; neither is changed.
    """
    hub.plant(NAME, "data/theirs.csv", "a,b\n")
    refused = push(hub, dataset)
    assert refused.code == 2
    assert "has files that no push has made ('data/theirs.csv')" in refused.err
    assert set(hub.repo(NAME)["files"]) == {"data/theirs.csv"}

    other = "hf://datasets/somebody/else"
    push(hub, dataset, url=other)
    before = hub.repo("somebody/else")
    refused = push(hub, dataset, "--format", "imagefolder", url=other)
    assert refused.code == 2
    assert "'somebody/else' was pushed as parquet" in refused.err
    assert hub.repo("somebody/else") == before


def test_a_card_that_was_edited_there_is_kept(hub: Hub, dataset: Path) -> None:
    """
    Unless it is asked to be replaced; what else is there of the user's stays too.
    """
    push(hub, dataset)
    hub.plant(
        NAME, "README.md", "---\nlicense: mit\n---\n# Mine, with many words of my own about it\n"
    )
    hub.plant(NAME, "LICENSE", "mine")
    kept = push(hub, dataset)
    assert kept.object["card_kept"]
    assert "the card was edited on the Hub and is kept (--replace-card)" in kept.err
    assert b"Mine" in hub.content(NAME, "README.md")

    replaced = push(hub, dataset, "--replace-card")
    assert not replaced.object["card_kept"]
    assert b"Mine" not in hub.content(NAME, "README.md")
    assert hub.content(NAME, "LICENSE") == b"mine"


def test_a_public_dataset_has_to_be_asked_for(hub: Hub, dataset: Path) -> None:
    push(hub, dataset, "--public")

    assert not hub.repo(NAME)["private"]


@pytest.mark.parametrize(
    ("url", "env", "code", "words"),
    [
        ("hf://somebody/lighthouses", {}, 2, "write hf://datasets/OWNER/NAME"),
        ("https://huggingface.co/datasets/a/b", {}, 2, "write hf://datasets/OWNER/NAME"),
        (URL, {"HF_TOKEN": "hf_anotherTokenThatMayNotWrite"}, 1, "lets nobody write to"),
        (URL, {"HF_ENDPOINT": "http://hub.example.org"}, 2, "HF_ENDPOINT is no https address"),
    ],
)
def test_what_cannot_be_pushed_is_said(
    hub: Hub, dataset: Path, url: str, env: dict[str, str], code: int, words: str
) -> None:
    """
    No token is ever shown.
    """
    ended = push(hub, dataset, url=url, **env)

    assert ended.code == code
    assert words in ended.err
    assert TOKEN not in ended.err + ended.out
    assert env.get("HF_TOKEN", "no token") not in ended.err + ended.out


def test_without_a_token_it_says_where_to_get_one(hub: Hub, dataset: Path, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub.origin, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": " "}
    ended = fluxbatch("push", dataset, URL, env=environment)

    assert ended.code == 2
    assert "no token of the Hub: set HF_TOKEN" in ended.err


def killed_in_the_middle(hub: Hub, dataset: Path, after: int) -> int:
    """Begin a push and kill it once *after* files have arrived; how many had by then."""
    command = [sys.executable, "-m", "fluxbatch", "push", str(dataset), URL, "-f", "imagefolder"]
    with subprocess.Popen(
        command,
        env={**os.environ, **hub.environment},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        while len(arrived := hub.arrivals()) < after:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    return len(arrived)


@pytest.mark.parametrize("count", [60, pytest.param(5_000, marks=pytest.mark.timeout(600))])
def test_a_push_that_was_killed_goes_on_and_sends_nothing_twice(
    hub: Hub, tmp_path: Path, count: int
) -> None:
    """
    Killed with -9 twice, at a third and at two thirds; then it is complete, and each file has
    arrived once.
    """
    dataset = made(tmp_path / "d", count)
    killed_in_the_middle(hub, dataset, count // 3)
    killed_in_the_middle(hub, dataset, 2 * count // 3)
    ended = push(hub, dataset, "--format", "imagefolder")
    local = files_of(dataset / "exports" / "hub" / "imagefolder")
    ours = {name for name in local if not name.startswith(".fluxbatch/")}

    assert ended.code == 0, ended.err
    assert set(hub.repo(NAME)["files"]) == {*ours, ".fluxbatch/export.json"}
    assert set(hub.arrivals().values()) == {1}
    assert len(hub.arrivals()) == len(ours) - 2  # card and metadata are no LFS files
