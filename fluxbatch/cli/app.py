"""The command-line application: all verbs in one typer app, cheap to import (a test measures)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

from fluxbatch._version import __version__
from fluxbatch.cli.arguments import FilledCommand
from fluxbatch.cli.commands.cancel import cancel_command
from fluxbatch.cli.commands.costs import costs_command
from fluxbatch.cli.commands.demo import demo_command
from fluxbatch.cli.commands.export import export_command, push_command
from fluxbatch.cli.commands.init import init_command
from fluxbatch.cli.commands.keys import keys_command
from fluxbatch.cli.commands.ls import ls_command
from fluxbatch.cli.commands.models import models_command
from fluxbatch.cli.commands.picking.rate import rate_command
from fluxbatch.cli.commands.picking.reroll import reroll_command
from fluxbatch.cli.commands.picking.serve import serve_command
from fluxbatch.cli.commands.plan import plan_command
from fluxbatch.cli.commands.reconcile import reconcile_command
from fluxbatch.cli.commands.recover import recover_command
from fluxbatch.cli.commands.repair import repair_command
from fluxbatch.cli.commands.report import report_command
from fluxbatch.cli.commands.retry import retry_command
from fluxbatch.cli.commands.run import run_command
from fluxbatch.cli.commands.show import show_command, why_command
from fluxbatch.cli.commands.status import status_command
from fluxbatch.cli.commands.uploads import uploads_app
from fluxbatch.cli.commands.watch import ctl_command, watch_command
from fluxbatch.cli.console import Console
from fluxbatch.cli.options import JsonFlag, console_for
from fluxbatch.emulator.command import emulator_command


def version_command(ctx: typer.Context, as_json: JsonFlag = False) -> int:
    """This program's version."""
    console = console_for(ctx, as_json=as_json)
    if as_json:
        console.object({"version": __version__, "python": platform.python_version()})
    else:
        console.print(f"fluxbatch {__version__} (Python {platform.python_version()})")
    return 0


_VERBS = (
    (demo_command, "A real run against a local emulator; no key, no cost."),
    (init_command, "Write a config, a manifest and photos to start from."),
    (plan_command, "Count a manifest's jobs, price and time; spends nothing."),
    (run_command, "Make what a manifest or config asks for; again to go on."),
    (status_command, "Where a dataset stands, also while a run goes on."),
    (watch_command, "The live screen of a run that goes on elsewhere."),
    (ctl_command, "Pause, resume or stop a run at work, or change its budget."),
    (ls_command, "The rows, a line each; a filter chooses."),
    (show_command, "Everything of one result."),
    (why_command, "The history of one job in words."),
    (report_command, "Totals, charts and images to look at in a browser, offline."),
    (costs_command, "What was spent, by day, run, model, key or axis."),
    (serve_command, "A live page in a browser, to watch and to pick."),
    (rate_command, "Keep or reject images, or give them stars."),
    (reroll_command, "Make rows anew with other seeds, e.g. rejected ones."),
    (retry_command, "Send failed jobs back to pending."),
    (cancel_command, "Ask the provider to stop what runs."),
    (reconcile_command, "Settle and audit a dataset against the provider."),
    (repair_command, "Fetch missing or corrupt files again, for $0."),
    (recover_command, "Write a lost ledger anew from the images."),
    (export_command, "Write the images and their rows as a dataset."),
    (push_command, "Upload an export to the Hugging Face Hub."),
    (models_command, "A model's inputs and price; alone, the models known."),
    (keys_command, "Each key's label, fingerprint, account and health."),
    (emulator_command, "Serve the provider's API on this machine."),
    (version_command, "This program's version."),
)
_SHOWING = {
    "plan", "status", "watch", "ls", "show", "why", "costs", "models", "keys", "version",
}  # fmt: skip


def only_shows(argv: Sequence[str]) -> bool:
    """Whether what a command writes to stdout is all that it does."""
    return not argv or argv[0].startswith("-") or argv[0] in _SHOWING


def _tell_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        version_command(ctx)
        raise typer.Exit


def _whole(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="As `version`."),
    ] = False,
) -> None:
    """Flags before the verb."""


def _application(verbs: Iterable[tuple[Callable[..., int | None], str]]) -> typer.Typer:
    made = typer.Typer(
        name="fluxbatch",
        help="Batch image generation that never pays twice and never loses a result.",
        epilog="Start with `fluxbatch demo`: it needs no key and costs nothing.",
        rich_markup_mode=None,  # laid out by rich, help takes more than twice as long
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    )
    for verb, short in verbs:
        # The emulator's flags say themselves what an empty value means.
        cls = None if verb is emulator_command else FilledCommand
        made.command(_name_of(verb), short_help=short, cls=cls)(verb)
    made.callback()(_whole)
    return made


def _name_of(verb: Callable[..., int | None]) -> str:
    return verb.__name__.removesuffix("_command")


app = _application(_VERBS)
app.add_typer(uploads_app, name="uploads", short_help="Look after uploaded control images.")


def invoke(argv: Sequence[str], console: Console) -> int:
    """Run one verb; answers what it returns, raises what it raises."""
    # A verb that is named needs no other: the flags of all of them take a while to be made.
    named = [one for one in _VERBS if argv and _name_of(one[0]) == argv[0]]
    code: Any = (_application(named) if named else app)(
        args=list(argv) or ["--help"], prog_name="fluxbatch", standalone_mode=False, obj=console
    )
    return code if isinstance(code, int) else 0
