"""The client of a run's control: one command, one answer, over the dataset's own socket.

Where the ledger is in PostgreSQL, it is the ledger that carries the command.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.control import ADD_KEY, asked_reason
from fluxbatch.errors import ConfigError, FluxbatchError, HeldElsewhere
from fluxbatch.infra.unix_socket import reachable

_TIMEOUT_S = 10.0


def control(
    folder: Folder,
    command: str,
    value: str = "",
    *,
    reason: str = "",
    dry_run: bool = False,
    secret: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the run at work in *folder* answered; blocks.

    *secret* is what `add_key` sends beside; of *reason*, control characters become blanks. Raises
    `ConfigError` where no run is at work there or it refuses the command, `HeldElsewhere` where
    another dataset is in the way, `FluxbatchError` where it does not answer.
    """
    reason = asked_reason(reason)
    if folder.is_shared:
        from fluxbatch.dataset.shared_control import control_shared_run
        from fluxbatch.dataset.shared_dataset import SharedDataset  # most datasets are folders

        assert isinstance(folder, SharedDataset)
        return control_shared_run(folder, command, value, reason=reason, dry_run=dry_run)
    folder.refuse_links()  # a stranger's socket may be a link to another program's
    request = {"command": command, "value": value, "reason": reason, "dry_run": dry_run, **secret}
    try:
        if secret:
            _refuse_another_user(folder)
        answer = _asked(folder, json.dumps(request).encode() + b"\n")
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"no run is at work in {folder.address!r}") from None
    except TimeoutError:
        raise FluxbatchError(
            _no_answer(folder, changes=command != "show" and not dry_run)
        ) from None
    except OSError as exc:
        raise FluxbatchError(f"the run in {folder.address!r} does not answer: {exc}") from exc
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise (HeldElsewhere if told.get("is_held") else ConfigError)(str(told["error"]))
    return told


def _no_answer(folder: Folder, *, changes: bool) -> str:
    """Its process stands still, or the machine is very busy: what was sent waits for it."""
    words = f"the run in {folder.address!r} has not answered for {_TIMEOUT_S:.0f} s"
    if not changes:
        return f"{words}; its process may stand still"
    return (
        f"{words}; its process may stand still. The change may still take effect once it goes on."
        f" See whether it has:  fluxbatch ctl {folder.typed} show"
    )


def add_key(
    folder: Folder,
    text: str,
    label: str = "",
    account: str = "",
    *,
    reason: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Give the run at work in *folder* one more key; raises as `control` does, and blocks.

    Empty, *label* and *account* are the usual ones: made of its fingerprint.
    """
    from fluxbatch.config.api_keys import key_to_add  # other commands need no settings

    refuse_keys_in_ledger(folder)
    key_to_add(text, label, account)  # what cannot be a key goes nowhere
    secret = {"key": text, "account": account}
    return control(folder, ADD_KEY, label, reason=reason, dry_run=dry_run, secret=secret)


def refuse_keys_in_ledger(folder: Folder) -> None:
    """Raise `ConfigError` where the ledger would have to carry a key."""
    if folder.is_shared:
        raise ConfigError(
            "a key never goes through a database: start one more worker with it (the same"
            " `fluxbatch run`, the key in its environment); it joins the run at work by itself"
        )


def _refuse_another_user(folder: Folder) -> None:
    if (owner := os.lstat(folder.control).st_uid) != os.geteuid():
        raise ConfigError(
            f"the run in {folder.address!r} belongs to another user (uid {owner}), who would have"
            " the key: only they can add one"
        )


def _asked(folder: Folder, request: bytes) -> bytes:
    with (
        reachable(folder.control) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream,
    ):
        stream.settimeout(_TIMEOUT_S)
        stream.connect(near)
        stream.sendall(request)
        answer = b""
        while block := stream.recv(65_536):
            answer += block
    if not answer:
        raise OSError("it ended without an answer")
    return answer
