"""`fluxbatch report`: totals, charts and images as a folder that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import Dataset, Json, Quiet, voice

_MOST = 50_000


def report(
    ctx: typer.Context,
    folder: Dataset,
    to: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The report's folder.", show_default="DIR/report"),
    ] = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show at most so many images.")
    ] = _MOST,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write totals, charts and a gallery to look at in a browser; needs no network."""
    talk = voice(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.text import count
    from fluxbatch.dataset.folder import Folder
    from fluxbatch.report import Place, write_report

    dataset = Folder(folder)
    with dataset.reader():
        pass  # no dataset, no folder
    place = Place.of(dataset, to)
    written = write_report(place, most=most)
    made = count(written.thumbs_made, "new thumbnail")
    talk.say(f"{count(written.images, 'image')}, {made}")
    if written.left_out:
        talk.say(f"{count(written.left_out, 'job')} more than --most {most}: not shown")
    if as_json:
        talk.object({"exit": 0, "page": str(place.page), "images": written.images})
    else:
        talk.data(str(place.page))
    return 0
