"""`fluxbatch uploads prune`: uploaded images that no job waits for are deleted at the provider."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrl, Dataset, Json, Quiet, Verbose, voice

uploads = typer.Typer(
    help="Look after the control images that were uploaded for a dataset.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@uploads.callback()
def _uploads() -> None:
    """Look after the control images that were uploaded for a dataset."""


@uploads.command(short_help="Delete uploads no pending or active job needs.")
def prune(
    ctx: typer.Context,
    folder: Dataset,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    base_url: BaseUrl = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Delete at the provider what no pending or active job of a dataset needs.

    A job that needs one of them later uploads it again. Exit 2: not confirmed. 5: no key may
    delete a part. 1: a part could not be deleted; run it again.
    """
    talk = voice(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import asked_about, attended
    from fluxbatch.cli.render.maintenance import confirmed, prune_lines
    from fluxbatch.maintenance import prune_uploads

    request = asked_about(talk, folder, base_url)
    if not confirmed(talk, request.folder, yes=yes):
        raise typer.Abort
    return attended(talk, partial(prune_uploads, request, handle_signals=True), prune_lines)
