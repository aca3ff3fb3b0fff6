"""Hooks of every bad kind, each in a real run: none of them is in its way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

import fluxbatch
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.events import Event, Noticed
from tests.integration.test_cli_run import write_manifest
from tests.support.commands import started
from tests.support.emulator import emulator_process
from tests.support.postgres_server import postgres_server
from tests.support.running import make_rows, provider

pytestmark = pytest.mark.proof

Install = Callable[..., Path]
T = TypeVar("T")

_SETTINGS = {
    "limits.window": "3s",
    "sink.min_free": 0,
    "reconcile.lag": 0.3,
    "provider.timeout": 1.5,
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A package of one hook as installers lay it: a module, and metadata beside it."""
    site = tmp_path / "site"

    def lay(name: str, code: str, *, package: str = "") -> Path:
        package = package or f"hook_{name}"
        about = site / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        about.joinpath("METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")
        about.joinpath("entry_points.txt").write_text(
            f"[fluxbatch.hooks]\n{name} = {package}:hook\n"
        )
        site.joinpath(f"{package}.py").write_text(code)
        return site

    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return lay


async def ran(
    folder: Path, settings: Mapping[str, object] | None = None, *, jobs: int = 3
) -> tuple[RunSummary, list[str]]:
    """A run against a local provider, and what was noted in it."""
    heard: list[Event] = []
    async with provider(duration_s=0.5) as emulator, fluxbatch.Dataset.open(folder) as dataset:
        summary = await dataset.run(
            make_rows(jobs),
            base_url=emulator.base_url,
            keys=["sk-any"],
            settings={**_SETTINGS, **(settings or {})},
            on_event=heard.append,
        )
    return summary, [event.message for event in heard if isinstance(event, Noticed)]


async def test_a_hook_is_called_once_for_each_image(install: Install, tmp_path: Path) -> None:
    """
    With what the image says of itself, its bytes, and a process that is not the run's.
    """
    install(
        "told",
        "import os\n"
        "async def hook(image):\n"
        "    facts, size = image.facts, len(image.read())\n"
        "    assert image.file.read_bytes() == image.read()\n"
        "    with open(image.dataset / 'told', 'a') as file:\n"
        "        print(facts['prompt'], facts['bytes'] == size, os.getpid(), sep='|', file=file)\n",
    )
    summary, notes = await ran(tmp_path / "d")
    told = [line.split("|") for line in (tmp_path / "d" / "told").read_text().splitlines()]

    assert summary.exit_code is ExitCode.DONE
    assert sorted(prompt for prompt, _, _ in told) == [f"a lighthouse, {n}" for n in range(3)]
    assert {whole for _, whole, _ in told} == {"True"}
    assert {pid for _, _, pid in told} != {str(os.getpid())}
    assert notes == []


async def test_a_failing_hook_fails_no_job_and_is_told(install: Install, tmp_path: Path) -> None:
    """
    The first failure at once, all of them at the end; what it prints is in its log.
    """
    install("bad", "def hook(image):\n    print('looking')\n    raise ValueError('no face')\n")
    summary, notes = await ran(tmp_path / "d")

    assert (summary.exit_code, summary.jobs.total) == (ExitCode.DONE, 3)
    first, last = notes
    assert first.startswith("hook 'bad' of hook_bad 1.0: images/")
    assert first.endswith(": ValueError: no face")
    assert last == (
        "hook 'bad' of hook_bad 1.0: of 3 images 3 failed, the last: ValueError: no face."
        " All of them are stored"
    )
    assert (tmp_path / "d" / "hooks" / "bad.log").read_text() == "looking\n" * 3


async def test_a_hanging_hook_is_ended_and_the_run_is_not(install: Install, tmp_path: Path) -> None:
    """
    Each call has its time; after three the hook is called no more. No process is left of it.
    """
    install(
        "slow",
        "import os, time\n"
        "def hook(image):\n"
        "    (image.dataset / f'pid-{os.getpid()}').touch()\n"
        "    time.sleep(600)\n",
    )
    began = time.monotonic()
    summary, notes = await ran(tmp_path / "d", {"hooks.timeout": 2}, jobs=4)
    pids = [int(path.name.removeprefix("pid-")) for path in (tmp_path / "d").glob("pid-*")]

    assert summary.exit_code is ExitCode.DONE
    assert time.monotonic() - began < 40
    assert len(pids) == 3
    assert not any(alive(pid) for pid in pids)
    assert "it took longer than 2 s (hooks.timeout)" in notes[0] + notes[1]
    assert any("it broke 3 times in a row; it is called no more" in note for note in notes)
    assert "of 4 images 3 failed" in notes[-1]
    assert "1 did not reach it" in notes[-1]


async def test_a_hook_that_lags_behind_is_waited_for_as_long_as_was_said(
    install: Install, tmp_path: Path
) -> None:
    """
    Then the run ends, and says how many images it did not reach.
    """
    install("lag", "import time\ndef hook(image):\n    time.sleep(600)\n")
    summary, notes = await ran(tmp_path / "d", {"hooks.grace": 2.5})

    assert summary.exit_code is ExitCode.DONE
    assert notes == [
        "hooks have 3 images left; 2.5 s are waited for them at most",
        "hook 'lag' of hook_lag 1.0: of 3 images 3 did not reach it. All of them are stored",
    ]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("hook = 7\n", "7 cannot be called"),
        ("import os\nos._exit(9)\n", "its process ended with exit 9"),
    ],
)
async def test_a_hook_that_cannot_be_loaded_is_told_once(
    install: Install, tmp_path: Path, code: str, why: str
) -> None:
    install("broken", code)
    summary, notes = await ran(tmp_path / "d")

    assert summary.exit_code is ExitCode.DONE
    assert why in notes[0]
    assert "it is called no more in this run" in notes[0]
    assert "of 3 images 3 did not reach it" in notes[1]


async def test_a_hook_whose_process_dies_gets_a_new_one(install: Install, tmp_path: Path) -> None:
    """
    The image it died of is counted as failed, the others are not.
    """
    install(
        "frail",
        "import os, signal\n"
        "def hook(image):\n"
        "    if not os.path.exists(image.dataset / 'died'):\n"
        "        (image.dataset / 'died').touch()\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    (image.dataset / f\"seen-{image.facts['job']}\").touch()\n",
    )
    summary, notes = await ran(tmp_path / "d")

    assert summary.exit_code is ExitCode.DONE
    assert len(list((tmp_path / "d").glob("seen-*"))) == 2
    assert f"its process ended by signal {int(signal.SIGSEGV)}" in notes[0]
    assert "of 3 images 1 failed" in notes[-1]


async def test_only_the_hooks_that_are_named_are_called(install: Install, tmp_path: Path) -> None:
    """
    A name that is not installed is refused before anything is spent; an empty list is none.
    """
    install("one", "def hook(image):\n    (image.dataset / 'one').touch()\n")
    install("two", "def hook(image):\n    (image.dataset / 'two').touch()\n")
    await ran(tmp_path / "d", {"hooks.names": ["two"]})
    await ran(tmp_path / "e", {"hooks.names": []})

    assert [(tmp_path / "d" / name).exists() for name in ("one", "two")] == [False, True]
    assert [(tmp_path / "e" / name).exists() for name in ("one", "two")] == [False, False]
    with pytest.raises(ConfigError, match="no hook 'tow' is installed; there is 'one', 'two'"):
        await ran(tmp_path / "f", {"hooks.names": ["tow"]})


async def test_two_packages_of_one_name_are_refused(install: Install, tmp_path: Path) -> None:
    install("same", "def hook(image): ...\n")
    install("same", "def hook(image): ...\n", package="another")

    with pytest.raises(ConfigError, match="two packages offer 'same'"):
        await ran(tmp_path / "d")


async def test_a_cancelled_run_leaves_no_hook_behind(install: Install, tmp_path: Path) -> None:
    """
    The process goes with the run, whatever it is at. It is asked by its file: it is another's.
    """
    install(
        "stuck",
        "import os, time\n"
        "def hook(image):\n"
        "    (image.dataset / f'pid-{os.getpid()}').touch()\n"
        "    time.sleep(600)\n",
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ran, tmp_path / "d")
        with anyio.fail_after(60):
            while not (pids := list((tmp_path / "d").glob("pid-*"))):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()

    assert not alive(int(pids[0].name.removeprefix("pid-")))


def test_ctrl_c_ends_the_wait_for_hooks_and_not_the_run(install: Install, tmp_path: Path) -> None:
    """
    Every job is done, so the exit code is 0.
    """
    install("lag", "import time\ndef hook(image):\n    time.sleep(600)\n")
    with emulator_process() as emulator:
        manifest = write_manifest(tmp_path / "m.jsonl", 2)
        words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url)
        with started(*words) as process:
            assert process.stderr is not None
            told = ""
            while "hooks have 2 images left" not in told:
                told += process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=30)

    assert process.returncode == 0, told + rest
    assert "hook 'lag' of hook_lag 1.0: of 2 images 2 did not reach it" in rest
    assert "2 of 2 jobs done" in rest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its pipe")
def test_a_killed_run_leaves_no_hook_behind(install: Install, tmp_path: Path) -> None:
    """
    Not even one that hangs and never looks at its pipe.
    """
    install(
        "stuck",
        "import os, time\n"
        "def hook(image):\n"
        "    (image.dataset / f'pid-{os.getpid()}').touch()\n"
        "    time.sleep(600)\n",
    )
    with emulator_process() as emulator:
        manifest = write_manifest(tmp_path / "m.jsonl", 2)
        words = ("run", manifest, "--out", tmp_path / "d", "--base-url", emulator.base_url)
        with started(*words) as process:
            (pid,) = until(lambda: list((tmp_path / "d").glob("pid-*")))
            process.kill()

    assert until(lambda: not alive(int(pid.name.removeprefix("pid-"))))


def test_a_dataset_in_postgresql_has_hooks_too(install: Install, tmp_path: Path) -> None:
    """
    The image lies where all machines see it, and its facts are in the database.
    """
    seen = tmp_path / "seen"
    install(
        "shared",
        "def hook(image):\n"
        f"    with open({str(seen)!r}, 'a') as file:\n"
        "        same = image.file.read_bytes() == image.read()\n"
        "        print(image.facts['prompt'], same, file=file)\n",
    )
    (tmp_path / "images").mkdir()
    write_manifest(tmp_path / "m.jsonl", 3)
    config = tmp_path / "c.yaml"
    config.write_text(f"manifest: m.jsonl\nsink: {{store: 'file://{tmp_path}/images'}}\n")
    with emulator_process() as emulator, postgres_server() as server:
        out = f"{server.url}/NIGHT"
        words = ("run", config, "--out", out, "--run", "one", "--base-url", emulator.base_url)
        with started(*words) as process:
            _, told = process.communicate(timeout=60)

    assert process.returncode == 0, told
    assert sorted(seen.read_text().splitlines()) == [f"a lighthouse, {n} True" for n in range(3)]


def until(look: Callable[[], T]) -> T:
    """What *look* sees once it sees something; another process has to do it."""
    give_up = time.monotonic() + 60
    while not (seen := look()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return seen


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
