"""The client of a run's control: one command, one answer, over the dataset's own socket.

Where the ledger is in PostgreSQL, it is the ledger that carries the command.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, FluxbatchError
from fluxbatch.infra.unix_socket import reachable

_TIMEOUT_S = 10.0


def control(
    folder: Folder, command: str, value: str = "", *, reason: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """What the run at work in *folder* answered; blocks.

    Raises `ConfigError` where no run is at work there or it refuses the command, `FluxbatchError`
    where it does not answer.
    """
    if folder.is_shared:
        from fluxbatch.dataset.shared_control import control_shared_run
        from fluxbatch.dataset.shared_dataset import SharedDataset  # most datasets are folders

        assert isinstance(folder, SharedDataset)
        return control_shared_run(folder, command, value, reason=reason, dry_run=dry_run)
    folder.refuse_links()  # a stranger's socket may be a link to another program's
    request = {"command": command, "value": value, "reason": reason, "dry_run": dry_run}
    try:
        answer = _asked(folder, json.dumps(request).encode() + b"\n")
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"no run is at work in {folder.address!r}") from None
    except OSError as exc:
        raise FluxbatchError(f"the run in {folder.address!r} does not answer: {exc}") from exc
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise ConfigError(str(told["error"]))
    return told


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
