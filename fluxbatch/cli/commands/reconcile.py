"""`fluxbatch reconcile`: the ledger against the provider's own record."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrl, Dataset, Json, Quiet, Verbose, voice


def reconcile(
    ctx: typer.Context,
    folder: Dataset,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take in what was paid and is unknown here.")
    ] = False,
    base_url: BaseUrl = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Settle and audit a dataset against the provider's own record; creates nothing.

    Looks for creates without an answer, books what everything really cost, fetches what
    succeeded late, and names what only one side knows. Exit 8: they differ. 7: creates without
    an answer remain. 5: no key may ask about a part. 1: a part could not be read.
    """
    talk = voice(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import asked_about, attended
    from fluxbatch.cli.render.maintenance import reconcile_lines
    from fluxbatch.maintenance import reconcile as reconcile_dataset

    request = asked_about(talk, folder, base_url)
    verb = partial(reconcile_dataset, request, adopt=adopt, handle_signals=True)
    return attended(talk, verb, lambda report: reconcile_lines(report, folder))
