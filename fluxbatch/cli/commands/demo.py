"""`fluxbatch demo`: a whole run against the local emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import JsonFlag, QuietFlag, VerboseFlag, console_for


def demo_command(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The dataset to fill.")
    ] = Path("demo"),
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """A real run against a local emulator, from four real photos; no key, no cost."""
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from fluxbatch.cli.demo_run import run_demo

    return run_demo(console, out)
