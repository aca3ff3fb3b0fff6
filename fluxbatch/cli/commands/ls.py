"""`fluxbatch ls`: the rows of a dataset, a line each."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import Dataset, Json, Where, voice


def ls(
    ctx: typer.Context,
    folder: Dataset,
    where: Where = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="At most so many; 0: all.")
    ] = 50,
    as_json: Json = False,
) -> int:
    """The rows of the latest manifest: number, id, state, cost, files.

    A filter is for example "state=failed and reason~timeout", "prompt~cat and width>=512". A row
    is shown where one of its images fits. With --json each row is a line, then comes a line that
    counts them.
    """
    talk = voice(ctx, as_json=as_json)
    from itertools import islice

    from fluxbatch.cli.render.rows import json_line, matching_rows, table_lines
    from fluxbatch.dataset.folder import Folder
    from fluxbatch.export.filter import EVERYTHING, parse_filter

    chosen = parse_filter(where) if where else EVERYTHING
    with Folder(folder).reader() as db:
        rows = matching_rows(db, chosen)
        shown = 0
        some = islice(rows, limit) if limit else rows
        lines = (json_line(row) for row in some) if as_json else table_lines(some)
        for line in lines:
            talk.data(line)
            shown += 1
        shown -= bool(shown and not as_json)  # the heading
        more = bool(limit) and next(rows, None) is not None
    if as_json:
        talk.object({"rows": shown, "more": more})
    elif more:
        talk.say(f"and more: these are the first {shown:,} (--limit 0 shows all)")
    elif not shown:
        talk.say("no row matches" if where else "nothing was ever run here")
    return 0
