"""A reroll in the foreground: its price said, consent had, its jobs made by an ordinary run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fluxbatch.cli.console import Console
from fluxbatch.cli.foreground_run import at_terminal, run_batch
from fluxbatch.cli.render.text import count
from fluxbatch.cli.source import hide_keys
from fluxbatch.config.api_keys import keys_for
from fluxbatch.config.loading import environment
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import dollars
from fluxbatch.errors import ConfigError
from fluxbatch.export.coverage import Coverage, CoveredValues, coverage_json, value_words
from fluxbatch.maintenance import DatasetRequest
from fluxbatch.maintenance.reroll import (
    RerollChoice,
    RerollPlan,
    add_rerolls,
    plan_reroll,
    reroll_settings,
    still_short,
)

_SHORT_SHOWN = 10


@dataclass(frozen=True, slots=True)
class RerollWords:
    """A reroll as it was typed."""

    where: str
    budget: str
    until: int | None
    per: str
    base_url: str

    def again(self, dataset: Folder) -> str:
        """The command that goes on with it."""
        words = ["--where", self.where] if self.where else []
        words += ["--until", str(self.until), "--per", self.per] if self.until else []
        words += ["--base-url", self.base_url] if self.base_url else []
        words += ["--budget", self.budget] if self.budget else ["--yes"]
        return f"fluxbatch reroll {dataset.typed} {shlex.join(words)}"


def reroll_rows(
    console: Console, folder: Path, choice: RerollChoice, typed: RerollWords, *, yes: bool
) -> int:
    """Say the price, ask, add, run; answers the exit code."""
    environ, dataset = environment(), dataset_at(folder)
    settings = reroll_settings(dataset, typed.budget, typed.base_url, environ)
    keys = keys_for(settings, environ)
    hide_keys(console, keys, environ)
    request = DatasetRequest(settings, keys, dataset)
    plan = plan_reroll(request, choice)
    for line in reroll_lines(plan):
        console.info(line)
    if plan.to_buy and not (yes or typed.budget) and not _agreed(console, plan):
        raise typer.Abort
    run = add_rerolls(request, plan)
    if run is None:
        if console.json:
            facts = _facts(choice, plan, still_short(request, choice))
            console.object({"exit": 0, "reroll": facts})
        return 0

    def told() -> dict[str, Any]:
        short = still_short(request, choice)
        for line in short_lines(choice, short):
            console.info(line)
        return {"reroll": _facts(choice, plan, short)}

    title = f"fluxbatch  reroll → {dataset.address}"
    return run_batch(console, run, title=title, again=typed.again(dataset), more=told)


def _agreed(console: Console, plan: RerollPlan) -> bool:
    """What a person at the terminal says; raise `ConfigError` where nobody can be asked."""
    if not at_terminal():
        raise ConfigError(
            f"{count(plan.to_buy, 'job')} will cost {_cost(plan)}: give --budget USD, or --yes;"
            " nothing was bought"
        )
    question = f"{count(plan.to_buy, 'job')} will cost {_cost(plan)}. Go on?"
    return typer.confirm(console.redact(question), err=True)


def _cost(plan: RerollPlan) -> str:
    return f"up to {dollars(plan.cost)}" if plan.cost is not None else "an unknown amount"


def reroll_lines(plan: RerollPlan) -> Iterator[str]:
    """What is made and for how much, what is left alone and why."""
    if not plan.to_buy and not plan.at_work:
        yield "nothing is to be made anew"
    if plan.picks:
        yield f"{count(len(plan.picks), 'job')} to make anew, each with another seed"
        yield "  the images that are there stay"
    if plan.waiting:
        yield f"  {plan.waiting:,} of them were left by an earlier command"
    if plan.withdrawn:
        yield f"{count(plan.withdrawn, 'reroll')} of an earlier command, never bought: withdrawn"
    if plan.at_work:
        yield f"{count(plan.at_work, 'reroll')} bought already: followed to the end"
    if plan.to_buy:
        each = f", {dollars(plan.price)} each" if plan.price is not None else ""
        yield f"price: {_cost(plan)}{each}"
    if plan.remade:
        yield f"  {plan.remade:,} left alone: made anew already, and the new image does not fit"
    if plan.without_image:
        yield f"  {plan.without_image:,} left alone: no image yet; `run` or `retry` makes it"


def short_lines(choice: RerollChoice, short: Mapping[CoveredValues, Coverage]) -> Iterator[str]:
    """The combinations that were not reached."""
    if choice.per is None:
        return
    if short:
        yield f"not reached: {choice.until} images kept or not judged yet"
    for values, one in list(short.items())[:_SHORT_SHOWN]:
        name = ", ".join(value_words(choice.per.fields, values))
        waiting = f", {one.to_come:,} to come" if one.to_come else ""
        yield f"  {name}: {one.kept:,} kept, {one.unjudged:,} not judged{waiting}"
    if len(short) > _SHORT_SHOWN:
        yield f"  and {len(short) - _SHORT_SHOWN:,} more (--json has all)"


def _facts(
    choice: RerollChoice, plan: RerollPlan, short: Mapping[CoveredValues, Coverage]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "picked": len(plan.picks),
        "waiting": plan.waiting,
        "withdrawn": plan.withdrawn,
        "remade": plan.remade,
        "without_image": plan.without_image,
    }
    if choice.per is not None:
        facts["short"] = coverage_json(choice.per.fields, short)
    return facts
