"""`fluxbatch version`."""

from __future__ import annotations

import platform

import typer

from fluxbatch._version import __version__
from fluxbatch.cli.options import Json, voice


def version(ctx: typer.Context, as_json: Json = False) -> int:
    """This program's version."""
    talk = voice(ctx, as_json=as_json)
    if as_json:
        talk.object({"version": __version__, "python": platform.python_version()})
    else:
        talk.data(f"fluxbatch {__version__} (Python {platform.python_version()})")
    return 0
