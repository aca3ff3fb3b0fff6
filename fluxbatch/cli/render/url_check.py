"""The output of `plan --check-urls`."""

from __future__ import annotations

import anyio

from fluxbatch.cli.console import Console
from fluxbatch.cli.render.text import count
from fluxbatch.config.settings import Settings
from fluxbatch.infra.runtime import loop_options
from fluxbatch.planning.plan import Plan
from fluxbatch.planning.url_check import CheckedUrl, check_urls

_SHOWN = 20
_URL_CHARS = 120


def unfit_urls(console: Console, plan: Plan, settings: Settings) -> int:
    """Say which of the plan's URLs cannot be used, and for which row; how many they are."""
    unfit: list[CheckedUrl] = []

    def hear(one: CheckedUrl) -> None:
        if one.problem:
            unfit.append(one)

    anyio.run(check_urls, plan.urls, settings, hear, backend_options=loop_options())
    unfit.sort(key=lambda one: plan.urls[one.url].number)
    for one in unfit if console.verbose else unfit[:_SHOWN]:
        url = one.url.partition("?")[0][:_URL_CHARS]
        console.warn(f"  {plan.urls[one.url]}, control image {url!r}: {one.problem}")
    if len(unfit) > _SHOWN and not console.verbose:
        console.warn(f"  … and {len(unfit) - _SHOWN:,} more (-v shows them)")
    console.info(f"checked {count(len(plan.urls), 'URL')}: {len(unfit):,} cannot be used")
    return len(unfit)
