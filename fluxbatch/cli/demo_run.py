"""The demo: the emulator as a process of its own, and a real batch against it.

Owns that process: it is ended however the demo ends. Nothing of the user's settings or keys
takes part, so the demo does the same everywhere.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from fluxbatch.cli.console import Console
from fluxbatch.cli.foreground_run import run_batch
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.request import RunRequest
from fluxbatch.errors import ConfigError, ExitCode, FluxbatchError
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest

_SPEED = 2.5
"""A 10 s execution takes 4 s."""
_GRACE_S = 5.0
_MANIFEST = "demo/manifest.csv"


class DemoFailed(FluxbatchError):
    """The emulator did not start."""


def run_demo(console: Console, out: Path) -> int:
    """Run it; answers the run's exit code."""
    console.info("the demo: an emulator on this machine plays the provider")
    folder = dataset_at(out)
    _refuse_other_datasets(folder)
    again = _again(folder)
    with local_provider() as base_url, as_file(files("fluxbatch") / "demo") as packaged:
        request = RunRequest(
            settings=load_settings(
                None, {"provider": {"base_url": base_url}, "hooks": {"names": []}}, {}
            ),
            keys=[_key(out)],
            folder=folder,
            manifest=packaged / "manifest.csv",
        )
        code = run_batch(console, request, title=f"fluxbatch demo → {out}", again=again)
    if code == ExitCode.DONE:
        for line in _next(folder):
            console.info(line)
    return code


def _refuse_other_datasets(folder: Folder) -> None:
    """The emulator's pictures have no business in a dataset somebody paid for."""
    if not folder.has_ledger():
        return
    with folder.reader() as db:
        latest = latest_manifest(db)
    if latest is not None and not (latest.path or "").endswith(_MANIFEST):
        raise ConfigError(f"{folder.address!r} is another dataset; name another folder (--out)")


@contextmanager
def local_provider() -> Iterator[str]:
    """An emulator in a process of its own, for as long as the block lasts; its base URL."""
    command = [sys.executable, "-m", "fluxbatch.emulator", "--port", "0", "--speed", str(_SPEED)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C is for the run: it still has to fetch what it bought
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "listening on " not in line:
                raise DemoFailed("the emulator did not start; see above")
            yield line.split()[-1]
        finally:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _die_with_parent() -> None:
    """In the child: end when the demo does, even when that is killed."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _key(out: Path) -> ApiKey:
    """A key of the folder's own: the emulator takes any, and two demos share no limits."""
    name = hashlib.sha256(str(out.absolute()).encode()).hexdigest()
    return ApiKey(f"demo-{name[:24]}", label="demo")


def _again(folder: Folder) -> str:
    is_usual = folder.address == "demo"
    return "fluxbatch demo" if is_usual else f"fluxbatch demo --out {folder.typed}"


def _next(folder: Folder) -> Iterator[str]:
    yield "look     the emulator drew these from the photos; with a key they are real"
    yield f"next     fluxbatch status {folder.typed}"
    yield "           what was made and paid"
    yield f"         {_again(folder)}"
    yield "           again: creates nothing new"
    yield "         fluxbatch init my-batch"
    yield "           a config and a manifest of your own"
