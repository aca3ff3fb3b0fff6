"""`fluxbatch ls`: the rows of a dataset, a line each."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, WhereOption, console_for


def ls_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    where: WhereOption = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="At most so many; 0: all.")
    ] = 50,
    as_json: JsonFlag = False,
) -> int:
    """The rows of the latest manifest: number, id, state, cost, files.

    A filter is for example "state=failed and reason~timeout", "prompt~cat and width>=512". A row
    is shown where one of its images fits. With --json each row is a line, then comes a line that
    counts them.
    """
    console = console_for(ctx, as_json=as_json)
    from itertools import islice

    from fluxbatch.cli.render.rows import json_line, matching_rows, table_lines
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.rating_store import ratings_of
    from fluxbatch.export.filter import EVERYTHING, parse_filter

    chosen = parse_filter(where) if where else EVERYTHING
    dataset = dataset_at(folder)
    with dataset.reader() as db:
        rows = matching_rows(db, chosen, ratings_of(dataset) if where else {})
        shown = 0
        some = islice(rows, limit) if limit else rows
        lines = (json_line(row) for row in some) if as_json else table_lines(some)
        for line in lines:
            console.print(line)
            shown += 1
        shown -= bool(shown and not as_json)  # the heading
        more = bool(limit) and next(rows, None) is not None
    if as_json:
        console.object({"rows": shown, "more": more})
    elif more:
        console.info(f"and more: these are the first {shown:,} (--limit 0 shows all)")
    elif not shown:
        console.info("no row matches" if where else "nothing was ever run here")
    return 0
