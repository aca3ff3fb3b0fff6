"""`fluxbatch report`: totals, charts and images as a folder that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import (
    DatasetArgument,
    JsonFlag,
    OnOption,
    ProcessesOption,
    QuietFlag,
    console_for,
)

_MOST = 50_000


def report_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    to: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The report's folder.", show_default="DIR/report"),
    ] = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show at most so many images.")
    ] = _MOST,
    processes: ProcessesOption = "1",
    on: OnOption = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Write totals, charts and a gallery to look at in a browser; needs no network."""
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.text import count
    from fluxbatch.cluster.pools import shard_pool
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.report import ReportDir, write_report

    dataset = dataset_at(folder)
    with dataset.reader():
        pass  # no dataset, no folder
    with shard_pool(processes, on, console.info) as pool:
        place = ReportDir.of(dataset, to)
        written = write_report(place, most=most, pool=pool)
    made = count(written.thumbs_made, "new thumbnail")
    console.info(f"{count(written.images, 'image')}, {made}")
    if written.left_out:
        console.info(f"{count(written.left_out, 'job')} more than --most {most}: not shown")
    if written.undrawn:
        console.warn(
            f"{count(written.undrawn, 'image')} without a picture: not there, no whole image, or"
            f" above 100 megapixels; this looks at all of them:  fluxbatch repair {dataset.typed}"
        )
    if as_json:
        console.object({"exit": 0, "page": str(written.place.page), "images": written.images})
    else:
        console.print(str(written.place.page))
    return 0
