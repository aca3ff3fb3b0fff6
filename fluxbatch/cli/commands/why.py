"""`fluxbatch why`: how one job came to be what it is."""

from __future__ import annotations

import typer

from fluxbatch.cli.commands.show import Name
from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for


def why_command(
    ctx: typer.Context, folder: DatasetArgument, name: Name, as_json: JsonFlag = False
) -> int:
    """The whole history of one job in words: every attempt, what it cost, what to do next.

    Times are UTC.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.job_history import history_json, history_lines
    from fluxbatch.cli.render.result import ResultView
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.find_job import find_job

    dataset = dataset_at(folder)
    with dataset.reader() as db:
        what = ResultView.read(db, dataset, find_job(db, dataset, name))
    console.answer(lambda: history_json(what), history_lines(what))
    return 0
