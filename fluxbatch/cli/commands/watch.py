"""`fluxbatch watch` and `fluxbatch ctl`: a run that another process does, seen and changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluxbatch.cli.completion import words
from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for

if TYPE_CHECKING:
    from fluxbatch.cli.console import Console
    from fluxbatch.dataset.folder import Folder

_ADD_KEY = "add-key"
_MOST_BYTES = 64 * 1024
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
"""How many values each command takes, and which; `add-key` has rules of its own."""


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
            metavar="pause|resume|stop|budget|limits.creates|limits.slots|lane|add-key|show",
            show_default=False,
            autocompletion=words(*_VALUES, _ADD_KEY),
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[USD|N|LABEL on|off|LABEL env:NAME|file:PATH]",
            help="Its value.",
            show_default=False,
        ),
    ] = None,
    account: Annotated[
        str, typer.Option(metavar="NAME", help="add-key: whose limits the key shares.")
    ] = "",
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
    nothing leave on it. `add-key LABEL` gives the run one more key, read from `env:NAME`,
    `file:PATH` or stdin. `show` changes nothing.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.control_client import control
    from fluxbatch.errors import ConfigError

    if command == _ADD_KEY:
        told = _add_key(console, dataset_at(folder), values or (), account, reason, dry_run)
        _tell(console, told, dry_run=dry_run)
        return 0
    if command not in _VALUES:
        known = ", ".join((*_VALUES, _ADD_KEY))
        raise ConfigError(f"ctl: {command!r} is no command; there are {known}")
    value, (wanted, takes) = " ".join(values or ()), _VALUES[command]
    if len(values or ()) != wanted:
        raise ConfigError(f"ctl: `{command}` takes {takes}")
    if account:
        raise ConfigError("ctl: --account is for add-key")
    told = control(dataset_at(folder), command, value, reason=reason, dry_run=dry_run)
    _tell(console, told, dry_run=dry_run)
    return 0


def _add_key(
    console: Console, dataset: Folder, values: Sequence[str], account: str, reason: str,
    dry_run: bool,
) -> dict[str, Any]:  # fmt: skip
    """Nothing that was typed is quoted: it may be a key in a wrong place."""
    import getpass

    from fluxbatch.config.api_keys import referenced_key_text
    from fluxbatch.config.loading import environment
    from fluxbatch.dataset.control_client import add_key, control, refuse_keys_in_ledger
    from fluxbatch.errors import ConfigError

    refuse_keys_in_ledger(dataset)
    sources = [one for one in values if one.startswith(("env:", "file:"))]
    labels = [one for one in values if one not in sources]
    if len(sources) > 1 or len(labels) > 1:
        raise ConfigError(
            "ctl: `add-key` takes a label and where the key is: env:NAME, file:PATH, or neither"
            " and the key on stdin. A key itself is never an argument: others see it in the"
            " process list, and the shell keeps it; if you typed one, it is best replaced"
        )
    control(dataset, "show")  # where no run is at work, nobody is asked for a key
    label = labels[0] if labels else ""
    if sources:
        text = referenced_key_text(sources[0], label or "to add", environment())
    elif sys.stdin.isatty():
        text = getpass.getpass("key (it is not shown): ").strip()
    else:
        text = sys.stdin.buffer.read(_MOST_BYTES).decode("utf-8-sig", "replace").strip()
    if not text:
        raise ConfigError("ctl: no key came on stdin; name where it is: env:NAME or file:PATH")
    return add_key(dataset, text, label, account, reason=reason, dry_run=dry_run)


def _tell(console: Console, told: dict[str, Any], *, dry_run: bool) -> None:
    if console.json:
        console.object(told)
        return
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
