"""The child process that calls one hook: one image after another.

Owns this end of the pipe. A hook may print, hang, crash or keep a lock: all of it is this
process's alone. Started by `process`; nothing imports it.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

import anyio

from fluxbatch.config.plugins import installed_plugins
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.new_image import new_image
from fluxbatch.errors import ConfigError


def serve_hook(name: str, address: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Load the hook, say so, then call it with each image asked for, until the pipe ends."""
    failure, hook = _loaded(name)
    folder = dataset_at(address)
    _answer(answers, failure)
    while hook is not None and (line := requests.readline()):
        _answer(answers, _failure_of(hook, folder, json.loads(line)["path"]))


def _loaded(name: str) -> tuple[str, Callable[[Any], Any] | None]:
    """Why it cannot be called, or what to call: the object, or one made of the class."""
    try:
        plugin = installed_plugins("hooks")[name]
        with plugin.blamed(ConfigError):
            found = plugin.load()
            hook = found() if inspect.isclass(found) else found
    except (ConfigError, KeyError) as exc:
        return str(exc), None
    return ("", hook) if callable(hook) else (f"{found!r} cannot be called", None)


def _failure_of(hook: Callable[[Any], Any], folder: Folder, path: str) -> str:
    """Call it; answers what it raised, in a line."""
    try:
        image = new_image(folder, path)
        made = hook(image) if image is not None else None
        if inspect.isawaitable(made):
            anyio.run(_awaited, made)
    except Exception as exc:  # noqa: BLE001  # code of others may raise anything
        return " ".join(f"{type(exc).__name__}: {exc}".rstrip(": ").split())
    return ""


async def _awaited(made: Any) -> None:
    await made


def _answer(answers: IO[bytes], failure: str) -> None:
    answers.write(json.dumps({"failure": failure[:2_000]}).encode() + b"\n")
    answers.flush()


def _end_with_parent() -> None:
    """A hook that hangs does not outlive a run that was killed."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the run
    _end_with_parent()
    # What a hook prints goes where its errors go, not into our answers.
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve_hook(sys.argv[1], sys.argv[2], sys.stdin.buffer, own)
