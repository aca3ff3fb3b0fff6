"""Flags that several verbs share, each worded once, and how a verb gets its voice."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.console import Talk

Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Every event, every bad row, tracebacks.")
]
BaseUrl = Annotated[
    str, typer.Option("--base-url", metavar="URL", help="Another endpoint, /v1 included.")
]
Format = Annotated[
    str, typer.Option("--format", metavar="KIND", help="The manifest's: csv, tsv, jsonl, ….")
]
Dataset = Annotated[
    Path, typer.Argument(metavar="DIR", help="The dataset's folder.", show_default=False)
]
Where = Annotated[
    str,
    typer.Option("--where", metavar="FILTER", help="Only these: 'status=done and prompt~cat'."),
]
Source = Annotated[
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

    def __init__(self, talk: Talk) -> None:
        super().__init__(logging.WARNING)
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        self._talk.warn(f"{record.name}: {self.format(record)}")


def voice(
    ctx: typer.Context, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> Talk:
    """The invocation's voice, told of the verb's flags."""
    talk = ctx.obj if isinstance(ctx.obj, Talk) else Talk()
    # What libraries have to say passes the same redaction as our own words.
    logging.lastResort = _Library(talk)
    talk.json = as_json
    talk.quiet = quiet
    talk.verbose = talk.verbose or verbose
    return talk
