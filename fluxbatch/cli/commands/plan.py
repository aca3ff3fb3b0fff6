"""`fluxbatch plan`: what a run would make, cost and take."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrl, Format, Json, Source, Verbose, voice


def plan(
    ctx: typer.Context,
    source: Source,
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
    kind: Format = "",
    base_url: BaseUrl = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Count a manifest's jobs, their price and time; spends nothing.

    It contacts nobody, but for control images in an object store or on plain http, for
    `--check-urls` (exit 2 where an image cannot be had), and for a model without a typed card:
    what that takes is asked of the provider, once, where the dataset does not know it yet.
    """
    talk = voice(ctx, as_json=as_json, verbose=verbose)
    from fluxbatch.cli.batch_args import Typed
    from fluxbatch.cli.render.plan import plan_lines, refusal
    from fluxbatch.cli.render.text import count, folded
    from fluxbatch.cli.render.url_check import unfit_urls
    from fluxbatch.dataset.folder import Folder
    from fluxbatch.errors import ExitCode
    from fluxbatch.planning.plan import plan as make_plan

    typed = Typed.read(source, out, kind=kind, base_url=base_url, budget=budget)
    folder = Folder(typed.out) if typed.out is not None else None
    with tempfile.TemporaryDirectory() as place:
        asked = typed.asked().here(Path(place))
        planned = make_plan(
            asked.settings, asked.manifest, folder, accounts=asked.accounts(talk),
            key=asked.any_key(talk), bad_rows_kept=10**9 if as_json or verbose else 1_000,
            with_urls=check_urls,
        )  # fmt: skip
    if not as_json:
        for line in plan_lines(planned, asked.settings, typed.source, typed.out):
            for part in folded(line, talk.width(), hang=10):
                talk.data(part)
    typed.check(lambda: planned)
    if planned.jobs.invalid:
        return refusal(talk, planned)
    if check_urls and (unfit := unfit_urls(talk, planned, asked.settings)):
        message = f"{count(unfit, 'control image')} cannot be used"
        return talk.failed(message, ExitCode.USAGE, planned.as_json())
    if save is not None:
        typed.save(save, planned)
        talk.say(f"saved: fluxbatch run {save} makes exactly this, or refuses")
    if as_json:
        talk.object(planned.as_json())
    return 0
