"""`fluxbatch watch` and `fluxbatch ctl`: a run that another process does, seen and changed."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.completion import words
from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for

_VALUES = {
    "pause": (0, "no value"),
    "resume": (0, "no value"),
    "stop": (0, "no value"),
    "show": (0, "no value"),
    "budget": (1, "an amount, as in: ctl DIR budget 12.50"),
    "limits.creates": (1, "a number, as in: ctl DIR limits.creates 60"),
    "limits.slots": (1, "a number, as in: ctl DIR limits.slots 5"),
    "lane": (2, "a lane's label and on or off, as in: ctl DIR lane work off"),
}
"""How many values each command takes, and which."""


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
        typer.Argument(
            metavar="pause|resume|stop|budget|limits.creates|limits.slots|lane|show",
            show_default=False,
            autocompletion=words(*_VALUES),
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[USD|N|LABEL on|off]", help="Its value.", show_default=False),
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
    that wait go on. `limits.creates N` and `limits.slots N` are each lane's; `lane LABEL off` lets
    nothing leave on it. `show` changes nothing.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.control_client import control
    from fluxbatch.errors import ConfigError

    if command not in _VALUES:
        raise ConfigError(f"ctl: {command!r} is no command; there are {', '.join(_VALUES)}")
    value, (wanted, takes) = " ".join(values or ()), _VALUES[command]
    if len(values or ()) != wanted:
        raise ConfigError(f"ctl: `{command}` takes {takes}")
    told = control(dataset_at(folder), command, value, reason=reason, dry_run=dry_run)
    if as_json:
        console.object(told)
        return 0
    would = "would be " if dry_run else ""
    console.info(f"{would}changed" if told["changed"] else "nothing to change")
    cap = f", budget ${told['budget_usd']}" if told["budget_usd"] is not None else ""
    standing = "paused" if told["paused"] else "at work"
    console.print(f"run {told['run_id']}: {told['stopping'] or standing}{cap}")
    for worker in told.get("workers", ()):
        place = f"worker on {worker['host']} (pid {worker['pid']})"
        console.print(f"  {place}")
        if not worker["obeys"]:
            console.warn(f"{place} does not answer; what it does is known once it is back, or gone")
    for lane in told["lanes"]:
        console.print(
            f"  lane {lane['label']}: {lane['health']}, {lane['slots_held']} of {lane['slots']}"
            f" slots, {lane['creates_in_window']} of {lane['creates']} creates"
        )
    return 0
