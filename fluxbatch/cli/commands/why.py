"""`fluxbatch why`: how one job came to be what it is."""

from __future__ import annotations

import typer

from fluxbatch.cli.commands.show import Name
from fluxbatch.cli.options import Dataset, Json, voice


def why(ctx: typer.Context, folder: Dataset, name: Name, as_json: Json = False) -> int:
    """The whole history of one job in words: every attempt, what it cost, what to do next.

    Times are UTC.
    """
    talk = voice(ctx, as_json=as_json)
    from fluxbatch.cli.render.job_history import story_json, story_lines
    from fluxbatch.cli.render.result import Shown
    from fluxbatch.dataset.find_job import meant
    from fluxbatch.dataset.folder import Folder

    dataset = Folder(folder)
    with dataset.reader() as db:
        what = Shown.read(db, dataset, meant(db, dataset, name))
    if as_json:
        talk.object(story_json(what))
    else:
        for line in story_lines(what):
            talk.data(line)
    return 0
