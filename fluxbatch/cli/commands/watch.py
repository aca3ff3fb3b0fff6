"""`fluxbatch watch` and `fluxbatch ctl`: a run that another process does, seen and changed."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for


def watch_command(ctx: typer.Context, folder: DatasetArgument) -> int:
    """Show the run at work in DIR until it ends, then where the dataset stands.

    It only reads: Ctrl-C ends the watching and not the run.
    """
    console = console_for(ctx)
    from fluxbatch.cli.progress.watch import watch_folder
    from fluxbatch.dataset.address import dataset_at

    dataset = dataset_at(folder)
    with dataset.reader():
        pass  # no dataset there: said at once
    try:
        watch_folder(console, dataset)
    except KeyboardInterrupt:
        console.info("no longer watching; the run goes on")
    return 0


def ctl_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    command: Annotated[
        str,
        typer.Argument(metavar="pause|resume|stop|budget|show", show_default=False),
    ],
    value: Annotated[
        str | None, typer.Argument(metavar="[USD]", help="Of `budget`.", show_default=False)
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Kept in the ledger with the change.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say whether it would change anything.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Change a run at work in DIR: what runs goes on, and no create slips by.

    `pause` lets nothing more leave until `resume`. `stop` ends it like the first Ctrl-C, with
    exit 4. `budget 12.50` changes `budget.per_run`; below what is spent it stops, above it jobs
    that wait go on. `show` changes nothing.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.control_client import control
    from fluxbatch.errors import ConfigError

    if command not in {"pause", "resume", "stop", "budget", "show"}:
        raise ConfigError(f"ctl: {command!r} is no command; pause, resume, stop, budget or show")
    if (command == "budget") != (value is not None):
        raise ConfigError("ctl: `budget` takes an amount, as in: ctl DIR budget 12.50")
    told = control(dataset_at(folder), command, value or "", reason=reason, dry_run=dry_run)
    if as_json:
        console.object(told)
        return 0
    would = "would be " if dry_run else ""
    console.info(f"{would}changed" if told["changed"] else "nothing to change")
    cap = f", budget ${told['budget_usd']}" if told["budget_usd"] is not None else ""
    standing = "paused" if told["paused"] else "at work"
    console.print(f"run {told['run_id']}: {told['stopping'] or standing}{cap}")
    return 0
