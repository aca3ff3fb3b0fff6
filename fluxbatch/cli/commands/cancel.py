"""`fluxbatch cancel`: the provider is asked to stop what runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrl, Dataset, Json, Quiet, Verbose, voice


def cancel(
    ctx: typer.Context,
    folder: Dataset,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="How long to follow what was asked to stop.")
    ] = "60s",
    base_url: BaseUrl = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Ask the provider to stop what runs, and follow it to its end.

    What ended cancelled has failed and is not bought again without `retry`; what finished
    anyway is kept. Exit 0: nothing runs any more. 4: something still does. 5: no key may ask.
    7: creates without an answer remain.
    """
    talk = voice(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import asked_about, attended, wait_s
    from fluxbatch.cli.render.maintenance import cancel_lines
    from fluxbatch.maintenance import cancel as cancel_dataset

    patience_s = wait_s(wait)
    request = asked_about(talk, folder, base_url)
    verb = partial(cancel_dataset, request, wait_s=patience_s, handle_signals=True)
    return attended(talk, verb, lambda report: cancel_lines(report, folder))
