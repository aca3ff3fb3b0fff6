"""`fluxbatch demo`: a whole run against the local emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import Json, Quiet, Verbose, voice


def demo(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The dataset to fill.")
    ] = Path("demo"),
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """A real run against a local emulator, from four real photos; no key, no cost."""
    talk = voice(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from fluxbatch.cli.demo_run import show_demo

    return show_demo(talk, out)
