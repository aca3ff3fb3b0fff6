"""The command of a placed worker, without Ray: it leaves when its actor is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ACTOR = """
import os, signal, subprocess, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as Ray's threads do
words = ["emulator", "--port", "0"]
command = [sys.executable, "-P", "-m", "fluxbatch.cluster.placed_worker", sys.argv[1], *words]
subprocess.Popen([word or str(os.getpid()) for word in command], start_new_session=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process ends with its parent on Linux alone")
def test_a_command_leaves_when_its_actor_is_killed() -> None:
    """
    Also where the actor's thread hears no signals: a killed one tells nobody.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _ACTOR, ""], stdout=subprocess.PIPE, text=True
    ) as actor:
        assert actor.stdout is not None
        assert "127.0.0.1" in actor.stdout.readline()
        actor.kill()
        actor.stdout.read()  # ends when the command has ended too
        assert actor.wait() == -9


def test_a_command_whose_actor_ended_before_does_not_begin() -> None:
    command = [sys.executable, "-P", "-m", "fluxbatch.cluster.placed_worker", "1", "version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == ""
