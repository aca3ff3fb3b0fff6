"""The console blocks of a page: read from it, run in one shell, compared with what they show.

Owns how they are written. A line that begins with `$ ` is a command; the lines after it are what it
prints, both streams together. `…` stands for any text, and on a line of its own for any lines. What
differs each time (times, run ids) may stand as it was once. A command that is to fail is followed
by `$ echo $?`. A block whose first line is `# NAME` in yaml or csv is that file.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|csv|jsonl))\n")
_MARK = re.compile(r"^<<<(\d+)>>>$\n?", re.M)
_CHANGING = (
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}"), "RUN"),
    (re.compile(r"\[\d+:\d\d(?::\d\d)?\]"), "[TIME]"),
    (re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?(?: UTC)?"), "DATE"),
    (re.compile(r"\b[\d.,]+ (?:ms|s|min)\b"), "DURATION"),
)
_PROVIDER = re.compile(r"^provider http://127\.0\.0\.1\S* \(.*\)\n", re.M)
"""Said of any provider but the real one, whom the guide's reader asks."""


@dataclass(frozen=True, slots=True)
class ShownCommand:
    """A command and what the page shows of its output."""

    command: str
    shown: str
    is_checked: bool
    """Whether its exit code is asked for by the next command."""


def blocks_of(text: str, kind: str) -> list[str]:
    """The page's blocks of one language, in order."""
    return [block for language, block in _BLOCK.findall(text) if language == kind]


def files_in(text: str) -> dict[str, str]:
    """The files that the page shows under their names."""
    found = {}
    for language in ("yaml", "csv", "json"):
        for block in blocks_of(text, language):
            if named := _FILE.match(block):
                found[named[1]] = block[named.end() :]
    return found


def commands_in(text: str) -> list[ShownCommand]:
    """Every command of the page's console blocks."""
    found: list[ShownCommand] = []
    for block in blocks_of(text, "console"):
        _, *parts = re.split(r"^\$ ", block, flags=re.M)
        for part in parts:
            command, _, shown = part.partition("\n")
            if command == "echo $?" and found:
                found[-1] = ShownCommand(found[-1].command, found[-1].shown, is_checked=True)
            found.append(ShownCommand(command, shown, is_checked=False))
    return found


def differences(
    commands: Sequence[ShownCommand], cwd: Path, env: Mapping[str, str]
) -> Iterator[str]:
    """Run the commands one after the other in one shell; what is not as it is shown."""
    script = "".join(
        f"{one.command}\n__code=$?; printf '\\n<<<%d>>>\\n' $__code; (exit $__code)\n"
        for one in commands
    )
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    *parts, _ = _MARK.split(ended.stdout)
    for one, told, code in zip(commands, parts[::2], parts[1::2], strict=True):
        if int(code) and not one.is_checked:
            yield f"$ {one.command}\nended with exit {code}:\n{told}"
        elif one.shown and not is_as_shown(told, one.shown):
            yield f"$ {one.command}\nprints\n{told}\nand the page shows\n{one.shown}"


def is_as_shown(told: str, shown: str) -> bool:
    """Whether an output is what a page shows of it."""
    pattern = "\n".join(
        r"(?:.*\n)*?.*" if line == "…" else ".*".join(map(re.escape, line.split("…")))
        for line in _lines(shown)
    )
    return re.fullmatch(pattern, "\n".join(_lines(_PROVIDER.sub("", told)))) is not None


def _lines(text: str) -> list[str]:
    for changing, name in _CHANGING:
        text = changing.sub(name, text)
    return [line.rstrip() for line in text.strip("\n").split("\n")]
