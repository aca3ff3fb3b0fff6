"""The translation of an exception into a message for people and an exit code for programs.

Errors of ours speak for themselves. Anything else is a bug: its traceback goes to a file
(and to stderr for who asked), because the screen is no place to keep it.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from fluxbatch.cli.arguments import Interrupted
from fluxbatch.cli.console import Console
from fluxbatch.errors import BadRow, ExitCode, FluxbatchError, ManifestError

_BAD_ROWS_SHOWN = 20
_MEND_OR_SKIP = ". Mend them, or use --skip-invalid to record them as failed"
_SECRET = re.compile(r"((?:pass\w*|pwd)\s*=\s*|://)[^\s)']+", re.IGNORECASE)
"""In words that were typed where none belong: a connection's, without the quotes around it."""


def exit_code_of(exc: BaseException, console: Console) -> int:
    """Say what happened; answers the exit code."""
    match exc:
        case KeyboardInterrupt() | Interrupted():
            return console.failed(
                "interrupted; run the same command to go on", ExitCode.INTERRUPTED
            )
        case typer.Abort():
            return console.failed("not confirmed; nothing was spent", ExitCode.USAGE)
        case typer.TyperException():
            return _misused(exc, console)
        case ManifestError():
            for line in bad_row_lines(exc.bad_rows, everything=console.verbose):
                console.warn(line)
            rows = {"bad_rows": [bad_row_json(bad) for bad in exc.bad_rows]} if exc.bad_rows else {}
            remedy = _MEND_OR_SKIP if exc.may_skip else ""
            return console.failed(exc.message + remedy, exc.exit_code, rows)
        case FluxbatchError():
            if console.verbose:
                console.warn(_traceback(exc))
            return console.failed(str(exc), exc.exit_code)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT, filename=None):
            return console.failed(f"cannot write: {exc.strerror}", ExitCode.ERROR)
        case _:
            return _surprised(exc, console)


def bad_row_lines(rows: Sequence[BadRow], *, everything: bool) -> Iterator[str]:
    """The bad rows, a line each; beyond the first only on request."""
    shown = rows if everything else rows[:_BAD_ROWS_SHOWN]
    for bad in shown:
        yield f"  {bad}"
    if more := len(rows) - len(shown):
        yield f"  … and {more:,} more (-v shows them)"


def bad_row_json(bad: BadRow) -> dict[str, Any]:
    """One bad row as programs get it."""
    return {"row": bad.number, "line": bad.line, "field": bad.field, "reason": bad.reason}


def _misused(exc: typer.TyperException, console: Console) -> int:
    context: Any = getattr(exc, "ctx", None)  # usage errors know their command
    help_hint = ""
    if context is not None:
        console.warn(context.get_usage())
        help_hint = f"; see `{context.command_path} --help`"
    words = _SECRET.sub(r"\1***", _plain(exc).rstrip("."))
    return console.failed(words + help_hint, ExitCode.USAGE)


def _plain(exc: typer.TyperException) -> str:
    """Its message; of a number that is none without the words of who looked at it."""
    from pydantic import ValidationError

    from fluxbatch.config.setting_problems import plain_words

    cause, param = exc.__cause__, getattr(exc, "param", None)
    if param is None or not isinstance(cause, ValidationError):
        return exc.format_message()
    error = cause.errors()[0]
    return f"{max(param.opts, key=len)} {error['input']!r} {plain_words(error)}"


def _surprised(exc: BaseException, console: Console) -> int:
    text = console.redact(_traceback(exc))
    where = ""
    if console.verbose:
        console.warn(text)
    else:
        try:
            handle, path = tempfile.mkstemp(prefix="fluxbatch-", suffix=".traceback.txt")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            where = f"; the traceback is in {path}"
        except OSError:
            where = "; -v shows the traceback"
    what = f"{type(exc).__name__}: {exc}".rstrip(": ")
    return console.failed(
        f"unexpected {what}{where}. Nothing is lost: run the same command to go on", ExitCode.ERROR
    )


def _traceback(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc)).rstrip("\n")
