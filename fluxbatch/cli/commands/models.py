"""`fluxbatch models`: what a model takes and costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.completion import model_slugs
from fluxbatch.cli.options import BaseUrlOption, JsonFlag, console_for


def models_command(
    ctx: typer.Context,
    slug: Annotated[
        str,
        typer.Argument(
            metavar="[SLUG]",
            help="The provider's name for a model.",
            autocompletion=model_slugs,
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="A dataset that may know it already."),
    ] = None,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
) -> int:
    """Show a model's inputs as a table, and its price; without SLUG, the models known here.

    A model without a typed card is asked of the provider, which needs no key; `model: SLUG` in
    a config runs it.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.model import known, known_lines, model_json, model_lines
    from fluxbatch.cli.source import CommandSource
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.model_card import describe

    folder = dataset_at(out) if out is not None else None
    if not slug:
        found = known(folder)
        console.answer(lambda: {"exit": 0, "models": found}, known_lines(found))
        return 0
    asked = CommandSource(console, base_url=base_url)
    settings = asked.settings.model_copy(update={"model": slug})
    described = describe(settings, folder, asked.any_key())
    lines = model_lines(described, console.width())
    console.answer(lambda: {"exit": 0, **model_json(described)}, lines)
    return 0
