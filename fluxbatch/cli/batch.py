"""One run in the foreground: asked for, watched, and summed up."""

from __future__ import annotations

import sys
from functools import partial

import anyio
import typer

from fluxbatch import engine
from fluxbatch.cli.progress import progress
from fluxbatch.cli.settings import Asked
from fluxbatch.cli.summary import tell_summary
from fluxbatch.cli.talk import Talk
from fluxbatch.cli.words import count, dollars
from fluxbatch.config import Budget, is_loopback
from fluxbatch.dataset import Folder
from fluxbatch.events import Events
from fluxbatch.planning import Plan, plan
from fluxbatch.seams import loop_options


def run_batch(talk: Talk, request: engine.RunRequest, *, title: str, again: str) -> int:
    """Run, show, sum up; answers the exit code. *again* is the command that goes on with it."""
    with progress(talk, title) as shown:
        run = partial(
            engine.run,
            request,
            Events(shown.hear),
            on_status=shown.show,
            handle_signals=True,
        )
        summary = anyio.run(run, backend_options=loop_options())
    tell_summary(talk, summary, request.folder, again)
    if talk.json:
        talk.object(summary.as_json())
    return int(summary.exit_code)


def consented(talk: Talk, asked: Asked, folder: Folder) -> bool:
    """Whether the money may be spent: a budget says so, or whoever sits at the terminal."""
    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not at_terminal or not _needs_consent(asked):
        return True
    key = asked.any_key(talk)
    planned = plan(asked.settings, asked.manifest, folder, key=key, bad_rows_kept=0)
    if not planned.jobs.to_buy:
        return True
    return typer.confirm(talk.clean(_question(planned)), err=True)


def _needs_consent(asked: Asked) -> bool:
    """Real money, and no cap on it."""
    is_capped = asked.settings.budget.model_copy(update={"timezone": Budget().timezone}) != Budget()
    return not is_capped and not is_loopback(asked.settings.provider.base_url)


def _question(planned: Plan) -> str:
    cost = f"up to {dollars(planned.cost)}" if planned.cost is not None else "an unknown amount"
    return (
        f"{count(planned.jobs.to_buy, 'job')} will cost {cost}, and no budget is set"
        " (--budget sets one, --yes asks nothing). Go on?"
    )
