"""`fluxbatch repair`: every file whole again, for $0."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import BaseUrl, Dataset, Json, Quiet, Verbose, voice


def repair(
    ctx: typer.Context,
    folder: Dataset,
    base_url: BaseUrl = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Check every stored file, and fetch again what is missing or corrupt; costs nothing.

    Files that the ledger does not name are told and left alone. Exit 0: every file is whole.
    3: some could not be fetched. 5: there is no key to fetch with.
    """
    talk = voice(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import asked_about, attended
    from fluxbatch.cli.render.maintenance import repair_lines
    from fluxbatch.maintenance import repair as repair_dataset

    request = asked_about(talk, folder, base_url, needs_key=False)
    verb = partial(repair_dataset, request, handle_signals=True)
    return attended(talk, verb, lambda report: repair_lines(report, folder))
