"""`fluxbatch reroll`: rows made anew with other seeds, for a price that is said first."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import (
    BaseUrlOption,
    DatasetArgument,
    JsonFlag,
    QuietFlag,
    VerboseFlag,
    WhereOption,
    console_for,
)


def reroll_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    where: WhereOption = "",
    budget: Annotated[
        str, typer.Option("--budget", metavar="USD", help="The most it may cost.")
    ] = "",
    until: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Make what is missing to N images kept."),
    ] = None,
    per: Annotated[
        str, typer.Option(metavar="FIELDS", help="Of each combination: axes.style,axes.guidance.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Make rows anew, each with another seed: `--where "rating=reject"`.

    The price is said first: it asks, or takes --budget or --yes. The images that are there stay.
    The same command again makes what is left, and nothing twice. Exit codes are those of `run`.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from fluxbatch.cli.reroll_run import RerollWords, reroll_rows
    from fluxbatch.export.coverage import parse_per
    from fluxbatch.export.filter import EVERYTHING, parse_filter
    from fluxbatch.maintenance.reroll import RerollChoice

    choice = RerollChoice(
        where=parse_filter(where) if where else EVERYTHING,
        until=until,
        per=parse_per(per) if per else None,
    )
    return reroll_rows(
        console, folder, choice, RerollWords(where, budget, until, per, base_url), yes=yes
    )
