"""The verbs, put together. Importing this costs little more than typer itself: a test measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fluxbatch.cli.commands.cancel import cancel
from fluxbatch.cli.commands.demo import demo
from fluxbatch.cli.commands.export import export
from fluxbatch.cli.commands.init import init
from fluxbatch.cli.commands.keys import keys
from fluxbatch.cli.commands.ls import ls
from fluxbatch.cli.commands.models import models
from fluxbatch.cli.commands.plan import plan
from fluxbatch.cli.commands.reconcile import reconcile
from fluxbatch.cli.commands.repair import repair
from fluxbatch.cli.commands.report import report
from fluxbatch.cli.commands.retry import retry
from fluxbatch.cli.commands.run import run
from fluxbatch.cli.commands.show import show
from fluxbatch.cli.commands.status import status
from fluxbatch.cli.commands.uploads import uploads
from fluxbatch.cli.commands.version import version
from fluxbatch.cli.commands.watch import watch
from fluxbatch.cli.commands.why import why
from fluxbatch.cli.console import Talk
from fluxbatch.emulator.command import emulator

app = typer.Typer(
    name="fluxbatch",
    help="Batch image generation that never pays twice and never loses a result.",
    epilog="Start with `fluxbatch demo`: it needs no key and costs nothing.",
    rich_markup_mode=None,  # laid out by rich, help takes more than twice as long
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
_VERBS = (
    (demo, "A real run against a local emulator; no key, no cost."),
    (init, "Write a config, a manifest and photos to start from."),
    (plan, "Count a manifest's jobs, price and time; spends nothing."),
    (run, "Make what a manifest or config asks for; again to go on."),
    (status, "Where a dataset stands, also while a run goes on."),
    (watch, "The live screen of a run that goes on elsewhere."),
    (ls, "The rows, a line each; a filter chooses."),
    (show, "Everything of one result."),
    (why, "The history of one job in words."),
    (report, "Totals, charts and images to look at in a browser, offline."),
    (retry, "Send failed jobs back to pending."),
    (cancel, "Ask the provider to stop what runs."),
    (reconcile, "Settle and audit a dataset against the provider."),
    (repair, "Fetch missing or corrupt files again, for $0."),
    (export, "Write the images and their rows as a dataset."),
    (models, "A model's inputs and price; alone, the models known."),
    (keys, "Each key's label, fingerprint, account and health."),
    (emulator, "Serve the provider's API on this machine."),
    (version, "This program's version."),
)
for _verb, _short in _VERBS:
    app.command(short_help=_short)(_verb)
app.add_typer(uploads, name="uploads", short_help="Look after uploaded control images.")


def _tell_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        version(ctx)
        raise typer.Exit


@app.callback()
def _whole(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="As `version`."),
    ] = False,
) -> None:
    """Flags before the verb."""


def invoke(argv: Sequence[str], talk: Talk) -> int:
    """Run one verb; answers what it returns, raises what it raises."""
    code: Any = app(
        args=list(argv) or ["--help"], prog_name="fluxbatch", standalone_mode=False, obj=talk
    )
    return code if isinstance(code, int) else 0
