"""The client of a run's control, where nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxbatch.dataset import control_client
from fluxbatch.dataset.control_client import control
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import FluxbatchError
from fluxbatch.infra.unix_socket import reachable


@pytest.fixture
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A run whose process stands still: its socket takes what is sent and answers nothing."""
    monkeypatch.setattr(control_client, "_TIMEOUT_S", 0.05)
    folder = Folder(tmp_path)
    with reachable(folder.control) as near, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(near)
        listener.listen()
        yield folder


def test_a_change_that_is_not_answered_may_still_take_effect_and_how_to_see_it(
    still: Folder,
) -> None:
    """
    What was sent waits at the socket until the process goes on.
    """
    with pytest.raises(FluxbatchError) as refused:
        control(still, "pause")

    assert "may still take effect" in str(refused.value)
    assert str(refused.value).endswith(f"fluxbatch ctl {still.address} show")


@pytest.mark.parametrize(("command", "dry_run"), [("show", False), ("pause", True)])
def test_a_question_that_is_not_answered_changes_nothing_later(
    still: Folder, command: str, dry_run: bool
) -> None:
    with pytest.raises(FluxbatchError, match=r"may stand still$"):
        control(still, command, dry_run=dry_run)
