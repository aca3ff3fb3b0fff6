"""`fluxbatch status`: where a dataset stands."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for


def status_command(ctx: typer.Context, folder: DatasetArgument, as_json: JsonFlag = False) -> int:
    """Where a dataset stands, from its ledger alone; also while a run goes on."""
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.status import status_json, status_lines
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.status import dataset_status

    dataset = dataset_at(folder)
    with dataset.reader() as db:
        now = dataset_status(db, dataset)
    console.answer(lambda: status_json(now), status_lines(now, console.width()))
    return 0
