"""`fluxbatch status`: where a dataset stands."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import Dataset, Json, voice


def status(ctx: typer.Context, folder: Dataset, as_json: Json = False) -> int:
    """Where a dataset stands, from its ledger alone; also while a run goes on."""
    talk = voice(ctx, as_json=as_json)
    from fluxbatch.cli.render.status import standing_json, status_lines
    from fluxbatch.dataset.folder import Folder
    from fluxbatch.dataset.status import standing

    dataset = Folder(folder)
    with dataset.reader() as db:
        now = standing(db, dataset)
    if as_json:
        talk.object(standing_json(now))
    else:
        for line in status_lines(now, talk.width()):
            talk.data(line)
    return 0
