"""The file of a ledger, which only SQLite opens, whatever command is given.

Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_cli_run import write_manifest
from tests.support.commands import KEY
from tests.support.emulator import emulator_process

_WATCHED = """
import os, sys

def heard(event, given):
    if event == "open" and not isinstance(given[0], int):
        if os.fsdecode(given[0]).endswith("ledger.sqlite"):
            sys.stderr.write("OPENED\\n")

sys.addaudithook(heard)
from fluxbatch.cli import main
sys.argv[0] = "fluxbatch"
sys.exit(main())
"""
"""Whatever Python itself opens is heard; what SQLite opens is not."""


@pytest.mark.proof
def test_no_command_opens_the_file_of_a_ledger_but_by_sqlite(tmp_path: Path) -> None:
    """
    A handle that is closed drops all locks of its process.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 2)
    opened = {}
    with emulator_process() as emulator:
        base = ("--base-url", emulator.base_url)
        for words in (
            ("run", manifest, "--out", "d", *base),
            ("run", manifest, "--out", "d", *base),
            ("plan", manifest, "--out", "d", *base),
            ("status", "d", "--coverage"),
            ("watch", "d"),
            ("ls", "d"),
            ("why", "d", "#1"),
            ("costs", "d"),
            ("rate", "d", "#1", "reject"),
            ("reroll", "d", "--where", "rating=reject", "--yes", *base),
            ("retry", "d"),
            ("export", "d", "-f", "jsonl", "--to", "rows.jsonl"),
            ("report", "d"),
            ("reconcile", "d", *base),
            ("repair", "d", *base),
            ("cancel", "d", "--wait", "1", *base),
        ):
            command = [sys.executable, "-c", _WATCHED, *map(str, words)]
            env = {**os.environ, "EACHLABS_API_KEY": KEY, "FLUXBATCH_SINK__MIN_FREE": "0"}
            ended = subprocess.run(
                command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, (words, ended.stderr)
            opened[words[0]] = "OPENED" in ended.stderr

    assert [verb for verb, was in opened.items() if was] == []
