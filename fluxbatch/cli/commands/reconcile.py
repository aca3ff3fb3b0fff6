"""`fluxbatch reconcile`: the ledger against the provider's own record."""

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


def reconcile_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take in what was paid and is unknown here.")
    ] = False,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB=PREDICTION]...",
            help="With --adopt: these alone, each a create that stays unknown and what it is.",
            show_default=False,
        ),
    ] = None,
    not_mine: Annotated[
        list[str] | None,
        typer.Option(
            "--not-mine", metavar="PREDICTION", help="No create of ours is this execution."
        ),
    ] = None,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Settle and audit a dataset against the provider's own record; creates nothing.

    Looks for creates without an answer, books what everything really cost, fetches what
    succeeded late, and names what only one side knows. Where a create stays unknown it shows the
    executions that may be it: --adopt JOB=PREDICTION and --not-mine PREDICTION settle it.
    Exit 8: they differ. 7: creates without
    an answer remain. 5: no key may ask about a part. 1: a part could not be read.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    from fluxbatch.cli.maintenance_run import maintain
    from fluxbatch.cli.render.maintenance import reconcile_lines
    from fluxbatch.errors import ConfigError
    from fluxbatch.maintenance import ByHand, reconcile_dataset

    chosen = dict(pair.partition("=")[::2] for pair in pairs or ())
    if chosen and not (adopt and all(chosen) and all(chosen.values())):
        raise ConfigError("write it like --adopt JOB=PREDICTION")
    by_hand = ByHand(chosen, not_mine or ())
    verb = partial(reconcile_dataset, adopt=adopt and not chosen, by_hand=by_hand)
    return maintain(console, folder, base_url, verb, reconcile_lines)
