"""`fluxbatch repair`: every file whole again, for $0."""

from __future__ import annotations

from functools import partial

import typer

from fluxbatch.cli.options import (
    BaseUrlOption,
    DatasetArgument,
    JsonFlag,
    OnOption,
    ProcessesOption,
    QuietFlag,
    VerboseFlag,
    console_for,
)


def repair_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    base_url: BaseUrlOption = "",
    processes: ProcessesOption = "1",
    on: OnOption = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Check every stored file, and fetch again what is missing or corrupt; costs nothing.

    Files that the ledger does not name are told and left alone. Exit 0: every file is whole.
    3: some could not be fetched. 5: there is no key to fetch with.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from fluxbatch.cli.maintenance_run import maintain
    from fluxbatch.cli.render.maintenance import repair_lines
    from fluxbatch.cluster.pools import shard_pool
    from fluxbatch.maintenance import repair_dataset

    with shard_pool(processes, on, console.info) as pool:
        verb = partial(repair_dataset, pool=pool)
        return maintain(console, folder, base_url, verb, repair_lines, needs_key=False)
