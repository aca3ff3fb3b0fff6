"""`fluxbatch run`: make what a manifest or a config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.completion import run_names, words
from fluxbatch.cli.options import (
    BaseUrlOption,
    FormatOption,
    JsonFlag,
    QuietFlag,
    SourceArgument,
    VerboseFlag,
    console_for,
)


def run_command(
    ctx: typer.Context,
    source: SourceArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The dataset.", show_default=False),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="USD", help="The most this run may cost (budget.per_run).")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N creates, then stop.")
    ] = None,
    max_duration: Annotated[
        str, typer.Option(metavar="6h", help="Buy only what is likely to be done in that time.")
    ] = "",
    deadline: Annotated[
        str, typer.Option(metavar="06:00", help="The same, by a time of day on this machine.")
    ] = "",
    max_failures: Annotated[
        str, typer.Option(metavar="N|5%", help="Stop where more jobs than that have failed.")
    ] = "",
    give_up: Annotated[
        str, typer.Option(metavar="30m", help="Stop where nothing is accepted for that long.")
    ] = "",
    canary: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Make N jobs from everywhere first, then ask."),
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Record bad rows as failed, run the others.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing, refuse no number of jobs.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Exit 6 at once where another run uses the key.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on in the background once it is at work.")
    ] = False,
    log_file: Annotated[
        str, typer.Option(metavar="PATH", help="Add a line for everything that happens.")
    ] = "",
    log_format: Annotated[
        str,
        typer.Option(
            metavar="text|json",
            help="Of those lines; json alone: on stderr.",
            autocompletion=words("text", "json"),
        ),
    ] = "",
    run_name: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="NAME",
            help="The run's name, where several processes share it.",
            autocompletion=run_names,
        ),
    ] = "",
    on: Annotated[
        str, typer.Option(metavar="ray", help="Place workers on the nodes of a Ray cluster.")
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="With --on: how many; 0 has those at work leave."),
    ] = None,
    kind: FormatOption = "",
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Make what a manifest, a config or a saved plan asks for; run it again to go on.

    Exit 0: every job is done. 3: some failed. 4: stopped at a budget, limit or deadline with jobs
    left. 2: refused, nothing was spent. 5: no usable key. 6: in use elsewhere. 7: creates without
    an answer remain.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from datetime import UTC, datetime

    from fluxbatch.cli.batch_args import BatchArgs, following
    from fluxbatch.cli.deadline import ends_at
    from fluxbatch.cli.foreground_run import confirm_cost, run_batch
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.domain.failure_cap import FailureCap
    from fluxbatch.engine.request import RunRequest
    from fluxbatch.errors import ConfigError
    from fluxbatch.manifest.readers.remote_file import as_written
    from fluxbatch.planning.plan import MOST_EXPANDED, make_plan

    typed = BatchArgs.read(source, out, kind=kind, base_url=base_url, budget=budget)
    if typed.out is None:
        raise ConfigError("--out DIR is missing: the folder of images and ledger")
    asked = typed.asked(console, log_file=log_file, log_format=log_format, give_up=give_up)
    asked.name_provider()
    if on or workers is not None:
        from fluxbatch.cli.cluster_run import ClusterRun, run_on_cluster

        wanted = ClusterRun(on, workers, run_name, canary=canary, detach=detach, yes=yes)
        return run_on_cluster(console, typed, asked, wanted)
    keys = asked.keys()
    folder = dataset_at(typed.out)
    folder.refuse_links()
    manifest = asked.manifest_in(folder.root / "manifests")
    typed.check(lambda: make_plan(asked.settings, manifest, folder, key=keys[0]))
    if not yes and not confirm_cost(console, asked, manifest, folder):
        raise typer.Abort
    if detach:
        from fluxbatch.cli.detached_run import run_detached

        if str(source) == "-":
            raise ConfigError("--detach: not with a manifest from stdin")
        return run_detached(console, folder, [w for w in console.argv if w != "--detach"])
    request = RunRequest(
        settings=asked.settings,
        keys=keys,
        folder=folder,
        manifest=manifest,
        skip_invalid=skip_invalid,
        no_wait=no_wait,
        limit=limit,
        run_name=run_name or None,
        ends_at=ends_at(max_duration, deadline, datetime.now(UTC)),
        most_jobs=None if yes else MOST_EXPANDED,
        max_failures=FailureCap.parse(max_failures) if max_failures else None,
    )
    title = f"fluxbatch  {as_written(source)} → {folder.address}"
    again = typed.run_again(yes=yes, run_name=run_name)
    anew = typed.run_again(yes=yes, run_name=following(run_name)) if run_name else None
    return run_batch(console, request, title=title, again=again, anew=anew, canary=canary, yes=yes)
