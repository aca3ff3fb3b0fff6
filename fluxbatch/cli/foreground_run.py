"""One run in the foreground: requested, shown, and summed up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import typer

from fluxbatch.cli.console import Console
from fluxbatch.cli.progress.event_log import event_log
from fluxbatch.cli.progress.progress import Progress, progress
from fluxbatch.cli.render.run_summary import tell_summary
from fluxbatch.cli.render.text import count
from fluxbatch.cli.source import CommandSource
from fluxbatch.config.settings import Budget
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.engine.hooks.run import with_hooks
from fluxbatch.engine.notify import with_notifications
from fluxbatch.engine.request import Canary, RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import FluxbatchError
from fluxbatch.events import Events
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import loop_options
from fluxbatch.ledger.queries.runs_and_failures import latest_images
from fluxbatch.planning.plan import Plan, make_plan

_IMAGES_SHOWN = 10


def run_batch(
    console: Console,
    request: RunRequest,
    *,
    title: str,
    again: str,
    anew: str | None = None,
    canary: int | None = None,
    yes: bool = False,
    more: Callable[[], Mapping[str, object]] = dict,
) -> int:
    """Run, show, sum up; answers the exit code. *again* is the command that goes on with it, *anew*
    the one that does so by another name, where the run has one.

    *canary* jobs are made first, and asked about; *yes* goes on where none of them failed. What
    *more* answers at the end is added to the object of `--json`.
    """
    if strangers := request.folder.foreign_files():
        console.info(
            f"note: {request.folder.address!r} is no dataset yet and has other files"
            f" ({strangers[0]!r}); the dataset is made among them"
        )
    log = request.settings.log
    with (
        event_log(console, log) as logged,
        progress(console, title, is_logged=logged is not None and log.file is None) as shown,
    ):
        if canary is not None:
            goes_on = partial(_goes_on, console, shown, request.folder, yes=yes)
            request = replace(request, canary=Canary(canary, goes_on))
        events = Events(shown.hear, *([logged.hear] if logged is not None else []))
        run = partial(execute_run, request, on_status=shown.show, handle_signals=True)
        settings, folder = request.settings, request.folder
        hooked_run = partial(with_hooks, settings.hooks, folder, events, run, handle_signals=True)
        notified_run = partial(
            with_notifications, settings.notify, folder.told_as, events, hooked_run,
            is_shared=folder.is_shared,
        )  # fmt: skip
        summary = anyio.run(notified_run, backend_options=loop_options())
    try:
        tell_summary(console, summary, request.folder, again, request.manifest_seq, anew=anew)
    except FluxbatchError as exc:  # its dataset was taken away meanwhile
        console.warn(f"exit {int(summary.exit_code)}: {summary.reason}\n{exc}")
    added = more()
    if console.json:
        console.object({**summary.as_json(), **added})
    return int(summary.exit_code)


async def _goes_on(
    console: Console,
    shown: Progress,
    folder: Folder,
    summary: RunSummary,
    failed: int,
    *,
    yes: bool,
) -> bool:
    """Show what the canary made and ask; where nobody can be asked, no."""
    with shown.aside():
        for line in _canary_lines(folder, summary, failed):
            console.info(line)
        if yes:
            return not failed
        if not at_terminal():
            return False
        left = count(summary.jobs.of(JobState.PENDING), "job")
        console.warn(f"{left} to go. Go on? Type y or n:")
        await anyio.wait_readable(sys.stdin)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _canary_lines(folder: Folder, summary: RunSummary, failed: int) -> Iterator[str]:
    done = count(summary.jobs.of(JobState.DONE), "job")
    and_failed = f", {failed:,} failed" if failed else ""
    yield f"canary: {done} done{and_failed}, {dollars(summary.run.spent)} spent; the latest images:"
    with folder.reader() as db:
        images = open_images(folder, db)
        yield from (f"  {images.place(path)}" for path in latest_images(db, _IMAGES_SHOWN))


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm_cost(
    console: Console, asked: CommandSource, manifest: Path | None, folder: Folder
) -> bool:
    """Whether the money may be spent: a budget says so, or whoever sits at the terminal."""
    if not at_terminal() or not _needs_consent(asked):
        return True
    planned = make_plan(asked.settings, manifest, folder, key=asked.any_key(), bad_rows_kept=0)
    if not planned.jobs.to_buy or planned.is_only_counted:  # the engine refuses so many
        return True
    return typer.confirm(console.redact(_question(planned)), err=True)


def _needs_consent(asked: CommandSource) -> bool:
    """Real money, and no cap on it."""
    is_capped = asked.settings.budget.model_copy(update={"timezone": Budget().timezone}) != Budget()
    return not is_capped and not is_loopback(asked.settings.provider.base_url)


def _question(planned: Plan) -> str:
    cost = f"up to {dollars(planned.cost)}" if planned.cost is not None else "an unknown amount"
    return (
        f"{count(planned.jobs.to_buy, 'job')} will cost {cost}, and no budget is set"
        " (--budget sets one, --yes asks nothing). Go on?"
    )
