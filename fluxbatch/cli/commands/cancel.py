"""`fluxbatch cancel`: the provider is asked to stop what runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import (
    BaseUrlOption,
    DatasetArgument,
    JsonFlag,
    QuietFlag,
    VerboseFlag,
    console_for,
)


def cancel_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="How long to follow what was asked to stop.")
    ] = "60s",
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Ask the provider to stop what runs, and follow it to its end.

    What ended cancelled has failed and is not bought again without `retry`; what finished
    anyway is kept. Exit 0: nothing runs any more. 4: something still does. 5: no key may ask.
    7: creates without an answer remain.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import maintain, wait_s
    from fluxbatch.cli.render.maintenance import cancel_lines
    from fluxbatch.maintenance import cancel_dataset

    verb = partial(cancel_dataset, wait_s=wait_s(wait))
    return maintain(console, folder, base_url, verb, cancel_lines)
