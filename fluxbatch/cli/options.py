"""Flags that several verbs share, each worded once, and the console they configure."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.completion import filter_terms, manifest_formats
from fluxbatch.cli.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
VerboseFlag = Annotated[
    bool, typer.Option("--verbose", "-v", help="Every event, every bad row, tracebacks.")
]
BaseUrlOption = Annotated[
    str, typer.Option("--base-url", metavar="URL", help="Another endpoint, /v1 included.")
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="KIND",
        help="The manifest's: csv, tsv, jsonl, ….",
        autocompletion=manifest_formats,
    ),
]
DatasetArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The dataset's folder.", show_default=False)
]
WhereOption = Annotated[
    str,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="Only these: 'status=done and prompt~cat'.",
        autocompletion=filter_terms,
    ),
]
ProcessesOption = Annotated[
    str,
    typer.Option("--processes", metavar="N|auto", help="Work in so many processes; auto: a core."),
]
OnOption = Annotated[
    str | None,
    typer.Option("--on", metavar="ray", help="Work on the Ray cluster of RAY_ADDRESS."),
]
SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG|MANIFEST|PLAN",
        help="A config (.yaml, .toml), or a manifest: a table, a folder of images, - for stdin;"
        " to run, also a saved plan (.json).",
        show_default=False,
    ),
]


class _Library(logging.Handler):
    """Writes what a library logs, where nobody has asked for logs."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(f"{record.name}: {self.format(record)}")


def console_for(
    ctx: typer.Context, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> Console:
    """The invocation's console, set by the verb's flags."""
    console = ctx.obj if isinstance(ctx.obj, Console) else Console()
    # The messages of libraries pass the same redaction as our own.
    logging.lastResort = _Library(console)
    console.json = as_json
    console.quiet = quiet
    console.verbose = console.verbose or verbose
    return console
