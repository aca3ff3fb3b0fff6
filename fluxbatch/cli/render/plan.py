"""The output of `plan`, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fluxbatch.cli.console import Console
from fluxbatch.cli.errors import bad_row_json, bad_row_lines
from fluxbatch.cli.render.text import count, cut, overview_line
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import dollars, duration, shell_word, size
from fluxbatch.errors import ExitCode
from fluxbatch.manifest.readers.remote_file import as_written
from fluxbatch.planning.plan import Plan

_SCOPES = {"run": "per run", "day": "per day", "dataset": "per dataset"}
_NOTES_SHOWN = 5
_CHARS_SHOWN = 200


def plan_lines(plan: Plan, settings: Settings, source: Path, out: Folder | None) -> Iterator[str]:
    """The plan, line by line."""
    jobs = plan.jobs
    duplicates = ""
    if plan.duplicates:
        duplicates = f", {plan.duplicates:,} of them equal to an earlier one (one job, paid once)"
    yield overview_line("manifest", f"{plan.source}: {count(plan.rows, 'row')}{duplicates}")
    yield overview_line("model", plan.model)
    kinds = [(jobs.new, "new"), (jobs.changed, "changed"), (jobs.done, "done already")]
    kinds += [(jobs.begun, "bought already, to be finished")]
    kinds += [(jobs.failed, "failed earlier (`retry` sends them again)")]
    kinds += [(jobs.invalid, "invalid")]
    parts = ", ".join(f"{number:,} {kind}" for number, kind in kinds if number)
    if plan.is_only_counted:
        parts = "counted, not compared with a dataset; run makes so many only with --yes"
    yield overview_line("jobs", f"{jobs.total:,} in all" + (f": {parts}" if parts else ""))
    yield overview_line("cost", _cost(plan))
    if plan.seed_siblings * 2 >= jobs.to_buy > 0:
        yield overview_line(
            "hint", "many jobs differ by their seed alone: an execution costs the same with"
        )
        yield overview_line(
            "", "num_outputs: 4, so four images of each would cost what one does now"
        )
    yield overview_line("time", _time(plan, settings))
    if plan.uploads:
        files = f"{count(plan.uploads, 'local file')}, {size(plan.upload_bytes)}"
        yield overview_line("uploads", files)
    notes = list(plan.split_notes)
    notes += [f"{path} {note}" for path, all_ in plan.control_notes.items() for note in all_]
    for number, note in enumerate(notes[:_NOTES_SHOWN]):
        yield overview_line("" if number else "note", note)
    if len(notes) > _NOTES_SHOWN:
        yield overview_line("", f"and {len(notes) - _NOTES_SHOWN:,} more of such notes")
    for check in plan.budgets:
        fits = "enough" if check.jobs >= jobs.to_buy else f"pays for {count(check.jobs, 'job')}"
        spent = f", {dollars(check.committed)} of it used" if check.committed else ""
        yield overview_line("budget", f"{dollars(check.cap)} {_SCOPES[check.scope]}{spent}: {fits}")
    if plan.first_rows:
        yield ""
        yield "the first as they would be sent:"
        for row in plan.first_rows:
            yield f"  {row.name}: {json.dumps(_cut(row.input), ensure_ascii=False)}"
    if jobs.to_buy and not jobs.invalid:
        yield ""
        place = out.typed if out else "DIR"
        yield f"next      fluxbatch run {shell_word(as_written(source))} --out {place}"


def _cut(given: Mapping[str, Any]) -> dict[str, Any]:
    """*given* with long texts cut."""
    return {
        name: cut(value, _CHARS_SHOWN) if isinstance(value, str) else value
        for name, value in given.items()
    }


def refusal(console: Console, plan: Plan) -> int:
    """Rows are invalid: say which; answers the exit code."""
    for line in bad_row_lines(plan.bad_rows, everything=console.verbose):
        console.warn(line)
    message = f"{count(plan.jobs.invalid, 'row')} of {plan.source} cannot become jobs;"
    message += " mend them, or run with --skip-invalid"
    more = {"bad_rows": [bad_row_json(bad) for bad in plan.bad_rows], **plan.as_json()}
    return console.failed(message, ExitCode.USAGE, more)


def _cost(plan: Plan) -> str:
    if plan.cost is None or plan.price is None:
        return "unknown: nobody has said what this model costs; `price:` in the config does"
    if not plan.jobs.to_buy:
        return f"{dollars(plan.cost)}, nothing is left to buy"
    images = ""
    if plan.images != plan.jobs.to_buy:
        each = plan.cost / plan.images / 1_000_000
        images = f"; {count(plan.images, 'image')}, ${each:.4g} each"
    jobs = count(plan.jobs.to_buy, "job")
    return f"{dollars(plan.cost)} ({jobs} at {dollars(plan.price)}{images})"


def _time(plan: Plan, settings: Settings) -> str:
    if not plan.jobs.to_buy:
        return "none"
    limits = settings.limits
    binding = {
        "slots": f"bound by {limits.concurrent} slots",
        "window": f"bound by {limits.creates} creates in any {limits.window:g} s",
        "none": "no limit binds",
    }[plan.binding_limit]
    basis = "as here before" if plan.is_observed else "assumed"
    accounts = count(plan.accounts, "account")
    each = f"{plan.execution_s:.3g} s an execution ({basis})"
    return f"about {duration(plan.seconds)} on {accounts}, {binding}, at {each}"
