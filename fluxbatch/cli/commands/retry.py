"""`fluxbatch retry`: failed jobs, or done ones with poor images, back to pending."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.completion import failure_classes, quality_words
from fluxbatch.cli.options import DatasetArgument, JsonFlag, QuietFlag, console_for


def retry_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Only failures of this class; may be given again.",
            autocompletion=failure_classes,
        ),
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NOTE",
            help="Instead, done jobs with black, flat, size or duplicate images.",
            autocompletion=quality_words,
        ),
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Send failed jobs back to pending; the next run buys them again."""
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.retry import (
        parse_kinds,
        parse_notes,
        retry_lines,
        retry_quality_lines,
    )
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.errors import ConfigError
    from fluxbatch.maintenance.retry import apply_retry, apply_retry_quality

    dataset = dataset_at(folder)
    if quality:
        if kind:
            raise ConfigError(
                "--kind is for failed jobs, --quality for done ones: give one of them"
            )
        reseeded = apply_retry_quality(dataset, parse_notes(quality))
        for line in retry_quality_lines(reseeded, dataset):
            console.info(line)
        if as_json:
            kept = {"seed": reseeded.seeded, "alive": reseeded.alive}
            kept = {why: jobs for why, jobs in kept.items() if jobs}
            console.object({"exit": 0, "retried": reseeded.jobs, "kept": kept})
        return 0
    retried = apply_retry(dataset, parse_kinds(kind or []))
    for line in retry_lines(retried, dataset):
        console.info(line)
    if as_json:
        kept = {failure.value: jobs for failure, jobs in retried.kept.items()}
        console.object({"exit": 0, "retried": retried.jobs, "kept": kept})
    return 0
