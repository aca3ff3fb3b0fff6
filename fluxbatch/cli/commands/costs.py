"""`fluxbatch costs`: the money of one dataset or of many, added up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.completion import spending_dimensions
from fluxbatch.cli.options import JsonFlag, console_for


def costs_command(
    ctx: typer.Context,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Datasets; their figures are added.", show_default=False
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="WHAT",
            help="day, run, model, key or axis:NAME.",
            autocompletion=spending_dimensions,
        ),
    ] = "day",
    as_csv: Annotated[bool, typer.Option("--csv", help="The groups as CSV.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """What was spent, is at risk and went to failures, and what an image cost.

    Money at risk may still be billed, or was estimated; estimates are in both columns. A note
    says where executions cost something else in the latest run than in the one before.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.costs import costs_csv, costs_json, costs_lines, costs_notes
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.errors import ConfigError
    from fluxbatch.report.spending_table import SpendingTable

    if as_csv and as_json:
        raise ConfigError("--csv and --json are two answers; ask for one")
    table = SpendingTable.read([dataset_at(folder) for folder in folders], by)
    console.answer(lambda: costs_json(table), costs_csv(table) if as_csv else costs_lines(table))
    for note in costs_notes(table):
        console.info(f"note: {note}")
    return 0
