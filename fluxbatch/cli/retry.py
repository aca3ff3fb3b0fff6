"""`fluxbatch retry`: failed jobs back to pending."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import Dataset, Json, Quiet, voice


def retry(
    ctx: typer.Context,
    folder: Dataset,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Only failures of this class; may be given again."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Send failed jobs back to pending; the next run buys them again."""
    talk = voice(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.retried import apply_retry, parse_kinds, retried_lines
    from fluxbatch.dataset import Folder

    dataset = Folder(folder)
    retried = apply_retry(dataset, parse_kinds(kind or []))
    for line in retried_lines(retried, dataset):
        talk.say(line)
    if as_json:
        kept = {failure.value: jobs for failure, jobs in retried.kept.items()}
        talk.object({"exit": 0, "retried": retried.jobs, "kept": kept})
    return 0
