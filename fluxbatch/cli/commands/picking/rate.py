"""`fluxbatch rate`: what is to become of images, said without a page."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.completion import rated_names
from fluxbatch.cli.options import DatasetArgument, JsonFlag, QuietFlag, WhereOption, console_for


def rate_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[IMAGE|JOB]… RATING",
            help="What is rated, and last keep, reject, none or 1 to 5 stars.",
            show_default=False,
            autocompletion=rated_names,
        ),
    ],
    where: WhereOption = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Say why.")] = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Keep or reject images, or give stars; for `export --where "rating=keep"`.

    A job stands for all its images. Nothing happens to the images, and a run may be at work.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.text import count
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.ratings import parse_rating
    from fluxbatch.export.rated import rate_images

    *targets, said = names
    rated = rate_images(dataset_at(folder), targets, where, parse_rating(said, note))
    console.info(f"{count(rated.images, 'image')} rated {said}, {rated.changed:,} of them anew")
    if as_json:
        console.object({"exit": 0, "images": rated.images, "changed": rated.changed})
    return 0
