"""`fluxbatch show`: everything of one result."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import Dataset, Json, voice

Name = Annotated[
    str,
    typer.Argument(
        metavar="FILE|JOB",
        help="'#12', an id of the manifest, the start of a job's id, a prediction, or a file.",
        show_default=False,
    ),
]


def show(ctx: typer.Context, folder: Dataset, name: Name, as_json: Json = False) -> int:
    """Inputs, seed, prediction, cost, hashes, size and control image of one result.

    A file may lie in the dataset or be a copy of one, anywhere. Each image is read and compared
    with the ledger.
    """
    talk = voice(ctx, as_json=as_json)
    from fluxbatch.cli.naming import meant
    from fluxbatch.cli.shown import Shown, shown_json, shown_lines
    from fluxbatch.dataset import Folder

    dataset = Folder(folder)
    with dataset.reader() as db:
        what = Shown.read(db, dataset, meant(db, dataset, name))
    if as_json:
        talk.object(shown_json(what))
    else:
        for line in shown_lines(what):
            talk.data(line)
    return 0
