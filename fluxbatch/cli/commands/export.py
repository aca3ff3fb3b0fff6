"""`fluxbatch export`: a dataset in the format of the tool that comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, QuietFlag, WhereOption, console_for
from fluxbatch.export.formats import EXPORT_FORMATS, format_names

ExportFormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        help=f"{', '.join(EXPORT_FORMATS)}, or one of a plugin.",
        autocompletion=format_names,
    ),
]


def export_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    form: ExportFormatOption,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="PATH", help="A folder, or one .jsonl, .csv or .parquet file."
        ),
    ] = None,
    where: WhereOption = "",
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="NAME=SHARE|COLUMN",
            help="train=90% and test=10%, or a column (default: the manifest's `split`).",
        ),
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", metavar="N", help="Samples in one shard.")
    ] = None,
    include_failed: Annotated[
        bool, typer.Option("--include-failed", help="Failed and invalid rows too.")
    ] = False,
    embed_images: Annotated[
        bool, typer.Option("--embed-images", help="parquet: the images as columns.")
    ] = False,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="For the card: cc-by-4.0, mit, …")
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Write images and rows as jsonl, csv, parquet, imagefolder (Hugging Face) or webdataset.

    Without --to it goes to DIR/exports. Run again, only what changed is written; the same dataset
    gives the same bytes. By shares, a job is always in the same split. A filter is for example
    "state=done and prompt~cat and width>=512"; README.md has its words.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.export import export_json, export_lines
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.export.export import ExportRequest, write_export
    from fluxbatch.export.filter import EVERYTHING, parse_filter
    from fluxbatch.infra.runtime import process_of_its_own

    request = ExportRequest(
        folder=dataset_at(folder),
        format=form,
        to=to,
        where=parse_filter(where) if where else EVERYTHING,
        splits=split or (),
        shard_size=shard_size,
        include_failed=include_failed,
        embed_images=embed_images,
        license=license_id,
    )
    with process_of_its_own():
        done = write_export(request)
    for line in export_lines(done):
        console.info(line)
    if as_json:
        console.object(export_json(done, form))
    else:
        console.print(str(done.path))
    return 0
