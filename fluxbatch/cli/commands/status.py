"""`fluxbatch status`: where a dataset stands."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for


def status_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Also how many are kept for each axis's values.")
    ] = False,
    per: Annotated[
        str, typer.Option(metavar="FIELDS", help="Or of combinations: axes.style,axes.guidance.")
    ] = "",
    as_json: JsonFlag = False,
) -> int:
    """Where a dataset stands, from its ledger alone; also while a run goes on."""
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.status import status_json, status_lines
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.status import dataset_status

    dataset, wants_coverage = dataset_at(folder), coverage or bool(per)
    with dataset.reader() as db:
        now = dataset_status(db, dataset)
        lines, told = list(status_lines(now, console.width())), status_json(now)
        if wants_coverage:  # every row is read for it, which a status is not
            from fluxbatch.cli.render.coverage import (
                coverage_lines,
                coverage_object,
                coverage_tables,
            )
            from fluxbatch.export.coverage import parse_per

            tables = coverage_tables(db, dataset, parse_per(per) if per else None)
            lines += ["", *coverage_lines(tables)]
            told["coverage"] = coverage_object(tables)
    console.answer(lambda: told, lines)
    return 0
