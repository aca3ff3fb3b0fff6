"""The commands in what a verb has said, as a shell would take them apart."""

from __future__ import annotations

import re
import shlex

_QUOTED = re.compile(r"`(fluxbatch [^`]+)`")
_VERBS = "run|plan|retry|reconcile|repair|recover|status|watch|show|ctl|reroll|demo"
_BARE = re.compile(rf"(?:^|\s)(fluxbatch (?:{_VERBS}) .+)")
_EXPLAINED = re.compile(r"   |: |  \(")
"""Behind a command: what it does."""


def printed_commands(said: str) -> list[list[str]]:
    """The words of every command with a dataset, without `fluxbatch`; titles are none."""
    return [shlex.split(command)[1:] for command in _texts(said) if command.count(" ") > 1]


def _texts(said: str) -> list[str]:
    texts = []
    for line in said.splitlines():
        texts += _QUOTED.findall(line)
        bare = _BARE.search(_QUOTED.sub("", line)) if " → " not in line else None
        texts += [_EXPLAINED.split(bare[1])[0]] if bare is not None else []
    return texts


def dataset_in(words: list[str]) -> str:
    """What of a command's words is the dataset."""
    return words[words.index("--out") + 1] if "--out" in words else words[1]
