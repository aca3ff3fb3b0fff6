"""`fluxbatch uploads prune`: uploaded images that no job waits for are deleted at the provider."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.arguments import FilledCommand
from fluxbatch.cli.options import (
    BaseUrlOption,
    DatasetArgument,
    JsonFlag,
    QuietFlag,
    VerboseFlag,
    console_for,
)

uploads_app = typer.Typer(
    help="Look after the control images that were uploaded for a dataset.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@uploads_app.callback()
def _uploads() -> None:
    """Look after the control images that were uploaded for a dataset."""


@uploads_app.command(cls=FilledCommand, short_help="Delete uploads no pending or active job needs.")
def prune(
    ctx: typer.Context,
    folder: DatasetArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Delete at the provider what no pending or active job of a dataset needs.

    A job that needs one of them later uploads it again. Exit 2: not confirmed. 5: no key may
    delete a part. 1: a part could not be deleted; run it again.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import maintenance_request, run_maintenance
    from fluxbatch.cli.render.maintenance import confirmed, prune_lines
    from fluxbatch.maintenance import prune_uploads

    request = maintenance_request(console, folder, base_url)
    if not confirmed(console, request.folder, yes=yes):
        raise typer.Abort
    return run_maintenance(
        console, partial(prune_uploads, request, handle_signals=True), prune_lines
    )
