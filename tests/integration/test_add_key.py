"""`fluxbatch ctl DIR add-key`: a run at work is given one more key, and nobody sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from fluxbatch import Dataset
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.dataset.control_client import add_key, control
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, HeldElsewhere
from tests.kills.killing import SCALED
from tests.support.commands import KEY, fluxbatch, started
from tests.support.emulator import EmulatorProcess, emulator_process

pytestmark = pytest.mark.proof

_SECOND = "sk-second-91b0c4e7aa52"
_THIRD = "sk-third-0c55d1f2be83"
_MANY = 1_000
_DOCS = {"FLUXBATCH_PROVIDER__DIALECT": "docs", "FLUXBATCH_PROVIDER__AUTH": "bearer"}
"""Answers give inputs back, so what a kill hides on two accounts can be told apart."""


@pytest.fixture
def provider() -> Iterator[EmulatorProcess]:
    """Two accounts, one of them with two keys; ten slots each, a second a prediction."""
    keys = f"{KEY}:first,{_SECOND}:team,{_THIRD}:team"
    flags = ("--speed", "10", "--image-size", "64", "--keys", keys)
    with emulator_process(*flags, dialect="docs") as running:
        yield running


@contextmanager
def at_work(
    provider: EmulatorProcess, place: Path, jobs: int, *flags: str, **env: str
) -> Iterator[Popen[str]]:
    """A run with the first key that has begun to buy, in the folder `d` of *place*."""
    place.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{place.name} {n},https://example.com/{n}.png\n" for n in range(jobs))
    (place / "m.csv").write_text("prompt,control_image\n" + rows)
    words = ("run", place / "m.csv", "--out", place / "d", "--base-url", provider.base_url)
    with started(*words, "--json", *flags, env={**SCALED, **_DOCS, **env}) as run:
        until_held(Folder(place / "d"), [1], run)
        yield run


def ended(run: Popen[str]) -> dict[str, Any]:
    out, err = run.communicate(timeout=100)
    assert out, err
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


def until_held(folder: Folder, slots: list[int], run: Popen[str]) -> None:
    """Each lane holds so many at least."""
    while True:
        assert run.poll() is None
        with suppress(ConfigError):  # it is not at work yet
            held = [lane["slots_held"] for lane in control(folder, "show")["lanes"]]
            if len(held) == len(slots) and all(a >= b for a, b in zip(held, slots, strict=True)):
                return
        time.sleep(0.05)


def images_by_key(place: Path) -> dict[str, int]:
    """How many images each key's label has made."""
    groups = fluxbatch("costs", place, "--by", "key", "--json").object["groups"]
    return {one["value"]: one["images"] for one in groups}


def refusals(provider: EmulatorProcess) -> int:
    stats = provider.stats()
    return int(stats["refused_rate"] + stats["refused_concurrent"])


def test_a_second_account_is_used_as_soon_as_its_key_is_there(
    provider: EmulatorProcess, tmp_path: Path
) -> None:
    """
    From one account's ten slots to both accounts' twenty, the limits hold on each, and the change
    is told wherever others are.
    """
    folder = Folder(tmp_path / "d")
    words = ("ctl", folder.root, "add-key", "night", "env:NIGHT", "--reason", "a long night")
    env = {"NIGHT": _SECOND}
    with at_work(provider, tmp_path, 160) as run:
        assert fluxbatch(*words, "--dry-run", env=env).err.startswith("would be changed")
        assert len(control(folder, "show")["lanes"]) == 1
        added = fluxbatch(*words, "--json", env=env)
        assert (added.code, added.object["changed"]) == (0, True)
        assert [lane["label"] for lane in added.object["lanes"]][1] == "night"
        until_held(folder, [9, 9], run)
        assert "nothing to change" in fluxbatch(*words, env=env).err
        told = ended(run)
    assert (told["exit"], told["jobs"]["done"]) == (0, 160)
    made = images_by_key(folder.root)
    assert sum(made.values()) == 160
    assert made["night"] > 40
    assert (provider.stats()["billed"], refusals(provider)) == (160, 0)
    line = f"key night ({ApiKey(_SECOND).fingerprint[:6]}) added"
    assert f"{line}: a long night" in fluxbatch("status", folder.root).out
    why = fluxbatch("why", folder.root, "#160").out
    assert f"{line} by `fluxbatch ctl`: a long night" in why
    assert fluxbatch("report", folder.root).code == 0
    assert f"{line}: a long night" in (folder.root / "report" / "index.html").read_text()


def test_the_text_of_an_added_key_is_on_no_disk_and_in_no_process_list(
    provider: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It comes by stdin, and is not written where the reason holds it by mistake.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder, log = Folder(tmp_path / "d"), ("--log-file", str(tmp_path / "log"))
    with at_work(provider, tmp_path, _MANY, "--verbose", *log, FLUXBATCH_SINK__EMBED="true") as run:
        words = (sys.executable, "-m", "fluxbatch", "ctl", folder.root, "add-key", "night")
        with Popen(words, stdin=subprocess.PIPE, text=True) as ctl:
            assert ctl.stdin is not None
            ctl.stdin.write(f"{_SECOND}\n")
            listed = ["", ""]
            while "add-key" not in listed[1]:
                assert ctl.poll() is None
                listed = [Path(f"/proc/{one.pid}/cmdline").read_text() for one in (run, ctl)]
            ctl.stdin.close()
            assert ctl.wait() == 0
        add_key(folder, _THIRD, "third", reason=f"it is {_THIRD}")
        until_held(folder, [9, 1, 1], run)
        control(folder, "stop")
        out, err = run.communicate(timeout=100)
    assert run.returncode == 4
    assert [_SECOND in one for one in listed] == [False, False]
    fluxbatch("report", folder.root)
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) > 20
    for text in (*texts, out.encode(), err.encode()):
        assert _SECOND.encode() not in text
        assert _THIRD.encode() not in text
    assert any(ApiKey(_SECOND).fingerprint.encode() in text for text in texts)


def test_a_key_that_is_typed_is_refused_and_never_repeated(
    provider: EmulatorProcess, tmp_path: Path
) -> None:
    """
    As an argument of its own, as a label, as an account; with the remedy.
    """
    with at_work(provider, tmp_path, _MANY):
        place, env = tmp_path / "d", {"K": _SECOND}
        refused = [
            fluxbatch("ctl", place, "add-key", "night", _SECOND),
            fluxbatch("ctl", place, "add-key", _SECOND, "env:K", env=env),
            fluxbatch("ctl", place, "add-key", "--account", _SECOND, "env:K", env=env),
            fluxbatch("ctl", place, "add-key", "x" * 31, "env:K", env=env),
            fluxbatch("ctl", place, "add-key", "night", "env:NOBODY"),
            fluxbatch("ctl", place, "add-key", "night", f"file:{tmp_path}/none"),
            fluxbatch("ctl", place, "add-key", ApiKey(KEY).label, "env:K", env=env),
            fluxbatch("ctl", place, "pause", "--account", "team"),
        ]
        assert len(control(Folder(place), "show")["lanes"]) == 1
    assert [one.code for one in refused] == [2] * len(refused)
    assert all(_SECOND not in one.out + one.err for one in refused)
    assert "env:NAME" in refused[0].err
    assert "give this one another label" in refused[6].err
    nobody = fluxbatch("ctl", tmp_path, "add-key", "night", "env:K", env={"K": _SECOND})
    assert (nobody.code, "no run is at work" in nobody.err) == (2, True)


def test_a_key_of_an_account_that_is_there_shares_its_limits(
    provider: EmulatorProcess, tmp_path: Path
) -> None:
    """
    No lane more, and what was asked of the lanes before holds for the account that comes.
    """
    folder = Folder(tmp_path / "d")
    with at_work(provider, tmp_path, 60) as run:
        control(folder, "limits.slots", "4")
        control(folder, "limits.creates", "50")
        (tmp_path / "key").write_text(_THIRD)
        added = add_key(folder, _SECOND, "night", "team")
        words = ("ctl", folder.root, "add-key", "third", f"file:{tmp_path}/key")
        again = fluxbatch(*words, "--account", "team", "--json").object
        other = fluxbatch(*words, "--account", "another")
        told = ended(run)
    assert [(lane["slots"], lane["creates"]) for lane in added["lanes"]] == [(4, 50), (4, 50)]
    assert (again["changed"], len(again["lanes"])) == (True, 2)
    assert (other.code, "as one of account 'team'" in other.err) == (2, True)
    assert told["jobs"]["done"] == 60
    assert set(images_by_key(folder.root)) == {ApiKey(KEY).label, "night", "third"}
    assert refusals(provider) == 0


def test_an_account_that_another_dataset_uses_is_not_taken(
    provider: EmulatorProcess, tmp_path: Path
) -> None:
    """
    As at a start: who has it is named, with exit 6; once it is free the same command takes it.
    """
    ours, words = Folder(tmp_path / "a" / "d"), ("add-key", "night", "env:K")
    env = {"K": _SECOND}
    with at_work(provider, tmp_path / "a", _MANY) as run:
        with at_work(provider, tmp_path / "b", _MANY, EACHLABS_API_KEY=_SECOND) as theirs:
            refused = fluxbatch("ctl", ours.root, *words, env=env)
            with pytest.raises(HeldElsewhere):
                add_key(ours, _SECOND)
            control(Folder(tmp_path / "b" / "d"), "stop")
            assert ended(theirs)["exit"] == 4
        taken = fluxbatch("ctl", ours.root, *words, "--json", env=env)
        until_held(ours, [9, 9], run)
        control(ours, "stop")
        ended(run)
    assert refused.code == 6
    assert f"in use by dataset '{tmp_path}/b/d'" in refused.err
    assert taken.object["changed"]
    assert refusals(provider) == 0


def test_what_a_killed_run_left_on_an_account_counts_before_its_key_creates_again(
    provider: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Killed with -9 while both accounts' slots are full, right after the key came; begun again with
    the first key alone, the other one is added once more: its slots are held by what it left.
    """
    folder = Folder(tmp_path / "d")
    for _ in range(3):
        with at_work(provider, tmp_path, 200) as run:
            add_key(folder, _SECOND, "night")
            until_held(folder, [9, 9], run)
            run.kill()
            run.wait()
    with at_work(provider, tmp_path, 200) as run:
        added = add_key(folder, _SECOND, "night")
        told = ended(run)
    assert added["lanes"][1]["slots_held"] >= 5
    assert (told["exit"], told["jobs"]["done"]) == (0, 200)
    assert (provider.stats()["billed"], refusals(provider)) == (200, 0)


def test_a_key_goes_through_no_database(tmp_path: Path) -> None:
    """
    Refused before a key is asked for or anything is connected to, with the remedy.
    """
    refused = fluxbatch("ctl", "postgresql://flux@127.0.0.1:1/pictures/NIGHTLY", "add-key", "night")
    assert refused.code == 2
    assert "start one more worker" in refused.err


async def test_a_key_is_added_from_python(provider: EmulatorProcess, tmp_path: Path) -> None:
    """
    The same rules, by a method of the run at work.
    """
    with at_work(provider, tmp_path, 40) as run:
        async with Dataset(tmp_path / "d").running() as steered:
            added = await steered.add_key(_SECOND, label="night", reason="more of it")
            again = await steered.add_key(_SECOND)
            with pytest.raises(ConfigError, match="empty"):
                await steered.add_key("")
        ended(run)
    assert (added["changed"], again["changed"], len(added["lanes"])) == (True, False, 2)
