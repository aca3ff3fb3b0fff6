"""`fluxbatch watch`: the live screen of a run that another process does."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import Dataset, voice


def watch(ctx: typer.Context, folder: Dataset) -> int:
    """Show the run at work in DIR until it ends, then where the dataset stands.

    It only reads: Ctrl-C ends the watching and not the run.
    """
    talk = voice(ctx)
    from fluxbatch.cli.progress.watch import watch_folder
    from fluxbatch.dataset.folder import Folder

    dataset = Folder(folder)
    with dataset.reader():
        pass  # no dataset there: said at once
    try:
        watch_folder(talk, dataset)
    except KeyboardInterrupt:
        talk.say("no longer watching; the run goes on")
    return 0
