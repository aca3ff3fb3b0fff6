"""`fluxbatch plan`: what a run would make, cost and take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrl, Json, Source, Verbose, voice


def plan(
    ctx: typer.Context,
    source: Source,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The dataset to compare with."),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="USD", help="Check this cap on a run.")] = "",
    base_url: BaseUrl = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Count a manifest's jobs, their price and time; spends nothing, contacts nothing.

    But for a model without a typed card: what it takes is asked of the provider, once, where
    the dataset does not know it yet.
    """
    talk = voice(ctx, as_json=as_json, verbose=verbose)
    from fluxbatch.cli.planned import plan_lines, refusal
    from fluxbatch.cli.settings import read_source
    from fluxbatch.dataset import Folder
    from fluxbatch.planning import plan as make_plan

    asked = read_source(source, budget=budget, base_url=base_url)
    folder = Folder(out) if out is not None else None
    planned = make_plan(
        asked.settings, asked.manifest, folder, accounts=asked.accounts(talk),
        key=asked.any_key(talk), bad_rows_kept=10**9 if as_json or verbose else 1_000,
    )  # fmt: skip
    if not as_json:
        for line in plan_lines(planned, asked.settings, source, out):
            talk.data(line)
    if planned.jobs.invalid:
        return refusal(talk, planned)
    if as_json:
        talk.object(planned.as_json())
    return 0
