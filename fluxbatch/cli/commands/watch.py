"""`fluxbatch watch`: the live screen of a run that another process does."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import DatasetArgument, console_for


def watch_command(ctx: typer.Context, folder: DatasetArgument) -> int:
    """Show the run at work in DIR until it ends, then where the dataset stands.

    It only reads: Ctrl-C ends the watching and not the run.
    """
    console = console_for(ctx)
    from fluxbatch.cli.progress.watch import watch_folder
    from fluxbatch.dataset.address import dataset_at

    dataset = dataset_at(folder)
    with dataset.reader():
        pass  # no dataset there: said at once
    try:
        watch_folder(console, dataset)
    except KeyboardInterrupt:
        console.info("no longer watching; the run goes on")
    return 0
