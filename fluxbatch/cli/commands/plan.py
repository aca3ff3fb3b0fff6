"""`fluxbatch plan`: what a run would make, cost and take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import (
    BaseUrlOption,
    FormatOption,
    JsonFlag,
    SourceArgument,
    VerboseFlag,
    console_for,
)


def plan_command(
    ctx: typer.Context,
    source: SourceArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The dataset to compare with."),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="USD", help="Check this cap on a run.")] = "",
    save: Annotated[
        Path | None,
        typer.Option(metavar="PLAN.json", help="Keep it; `run PLAN.json` refuses what changed."),
    ] = None,
    check_urls: Annotated[
        bool, typer.Option("--check-urls", help="Fetch every control image that is a URL.")
    ] = False,
    kind: FormatOption = "",
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Count a manifest's jobs, their price and time; spends nothing.

    It contacts nobody, but for control images in an object store or on plain http, for
    `--check-urls` (exit 2 where an image cannot be had), and for a model without a typed card:
    what that takes is asked of the provider, once, where the dataset does not know it yet.
    """
    console = console_for(ctx, as_json=as_json, verbose=verbose)
    from fluxbatch.cli.batch_args import BatchArgs
    from fluxbatch.cli.render.plan import plan_lines, refusal
    from fluxbatch.cli.render.text import OVERVIEW_LABEL, count, folded
    from fluxbatch.cli.render.url_check import unfit_urls
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.domain.formatting import shell_word
    from fluxbatch.errors import ExitCode
    from fluxbatch.infra.atomic_file import passing_folder
    from fluxbatch.planning.plan import make_plan as make_plan

    typed = BatchArgs.read(source, out, kind=kind, base_url=base_url, budget=budget)
    folder = dataset_at(typed.out) if typed.out is not None else None
    with passing_folder() as place:
        asked = typed.asked(console)
        asked.name_provider()
        planned = make_plan(
            asked.settings, asked.manifest_in(place), folder, accounts=asked.accounts(),
            key=asked.any_key(), bad_rows_kept=10**9 if as_json or verbose else 1_000,
            with_urls=check_urls,
        )  # fmt: skip
    if not as_json:
        for line in plan_lines(planned, asked.settings, typed.source, folder):
            for part in folded(line, console.width(), hang=OVERVIEW_LABEL):
                console.print(part)
    typed.check(lambda: planned)
    if planned.jobs.invalid:
        return refusal(console, planned)
    if check_urls and (unfit := unfit_urls(console, planned, asked.settings)):
        message = f"{count(unfit, 'control image')} cannot be used"
        return console.failed(message, ExitCode.USAGE, planned.as_json())
    if save is not None:
        typed.save(save, planned)
        console.info(f"saved: fluxbatch run {shell_word(save)} makes exactly this, or refuses")
    if as_json:
        console.object(planned.as_json())
    return 0
