"""The manual pages: `python docs/site/man_pages.py OUT` (or `make man`).

Made of the commands themselves, as `--help` has them: a page for each verb, and one of all of them.
Needs nothing but the package. They are written for `man -l OUT/man1/fluxbatch-run.1`, or for a
folder of `MANPATH`.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EXIT_CODES = Path(__file__).resolve().parents[1] / "guide" / "exit-codes.md"
_CODE_ROW = re.compile(r"^\| (\d[\d, ]*) \| (.+?) \|$", re.M)


def main(to: Path) -> int:
    """Write them into *to*; answers the exit code."""
    import typer.main

    from fluxbatch.cli.app import app

    folder = to / "man1"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole: Any = typer.main.get_command(app)
    verbs = dict(_verbs(whole, "fluxbatch"))
    for name, command in {"fluxbatch": whole, **verbs}.items():
        lines = [*_head(name, command), *_body(name, command, [*verbs])]
        page = folder / f"{name.replace(' ', '-')}.1"
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{folder}: {len(verbs) + 1} pages\n")
    return 0


def _verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, one in inner.items():
        yield from _verbs(one, f"{name} {word}")


def _head(name: str, command: Any) -> Iterator[str]:
    from fluxbatch import __version__

    title = name.replace(" ", "-")
    short = command.short_help or (command.help or "").split("\n\n")[0]
    yield f'.TH "{title.upper()}" "1" "" "fluxbatch {__version__}" "fluxbatch"'
    yield from (".SH NAME", f"{_roff(title)} \\- {_roff(_joined(short).rstrip('.'))}")


def _body(name: str, command: Any, verbs: list[str]) -> Iterator[str]:
    import typer

    context = typer.Context(command, info_name=name)
    usage = _joined(command.get_usage(context)).removeprefix(f"Usage: {name}").strip()
    yield from (".SH SYNOPSIS", f"\\fB{_roff(name)}\\fR {_roff(usage)}")
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(re.split(r"\n\s*\n", (command.help or "").strip())):
        if number:
            yield ".PP"
        yield _roff(_joined(paragraph))
    records = [parameter.get_help_record(context) for parameter in command.params]
    if shown := [record for record in records if record is not None]:
        yield ".SH OPTIONS"
        for flag, about in shown:
            yield from (".TP", f"\\fB{_roff(flag)}\\fR", _roff(_joined(about)))
    if name == "fluxbatch":
        yield ".SH COMMANDS"
        for verb, one in _verbs(command, name):
            about = one.short_help or _joined(one.help or "")
            yield from (".TP", f"\\fB{_roff(verb)}\\fR", _roff(about))
    yield ".SH EXIT STATUS"
    for codes, meaning in _CODE_ROW.findall(_EXIT_CODES.read_text("utf-8").partition("\n## ")[0]):
        yield from (".TP", f"\\fB{codes}\\fR", _roff(_without_marks(meaning)))
    others = [verb for verb in ["fluxbatch", *verbs] if verb != name]
    yield ".SH SEE ALSO"
    yield ", ".join(f"\\fB{_roff(other.replace(' ', '-'))}\\fR(1)" for other in others)


def _joined(text: str) -> str:
    return " ".join(text.replace("\b", "").split())


def _without_marks(text: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("\\|", "|")


def _roff(text: str) -> str:
    """*text* as it stands: no sign of it means anything to the formatter."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    text = text.replace("'", "\\(aq").replace("…", "...")
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/man").resolve()))
