"""`fluxbatch version`."""

from __future__ import annotations

import platform

import typer

from fluxbatch._version import __version__
from fluxbatch.cli.options import JsonFlag, console_for


def version_command(ctx: typer.Context, as_json: JsonFlag = False) -> int:
    """This program's version."""
    console = console_for(ctx, as_json=as_json)
    if as_json:
        console.object({"version": __version__, "python": platform.python_version()})
    else:
        console.print(f"fluxbatch {__version__} (Python {platform.python_version()})")
    return 0
