"""`fluxbatch export` and `push`: a dataset in the format of the tool that comes next."""

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
    WhereOption,
    console_for,
)
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

SplitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        metavar="NAME=SHARE|COLUMN",
        help="train=90% and test=10%, or a column (default: the manifest's `split`).",
    ),
]
ShardSizeOption = Annotated[
    int | None, typer.Option("--shard-size", metavar="N", help="Samples in one shard.")
]
FailedFlag = Annotated[bool, typer.Option("--include-failed", help="Failed and invalid rows too.")]
LicenseOption = Annotated[
    str | None, typer.Option("--license", metavar="ID", help="For the card: cc-by-4.0, mit, …")
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
    split: SplitOption = None,
    shard_size: ShardSizeOption = None,
    include_failed: FailedFlag = False,
    embed_images: Annotated[
        bool, typer.Option("--embed-images", help="parquet: the images as columns.")
    ] = False,
    license_id: LicenseOption = None,
    processes: ProcessesOption = "1",
    on: OnOption = None,
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
    from fluxbatch.cluster.pools import shard_pool
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.export.export import write_export
    from fluxbatch.export.export_request import ExportRequest
    from fluxbatch.export.filter import EVERYTHING, parse_filter

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
    with shard_pool(processes, on, console.info) as pool:
        done = write_export(request, pool)
    for line in export_lines(done):
        console.info(line)
    if as_json:
        console.object(export_json(done, form))
    else:
        console.print(str(done.path))
    return 0


def push_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="hf://datasets/OWNER/NAME", show_default=False),
    ],
    form: ExportFormatOption = "parquet",
    where: WhereOption = "",
    split: SplitOption = None,
    shard_size: ShardSizeOption = None,
    include_failed: FailedFlag = False,
    license_id: LicenseOption = None,
    with_costs: Annotated[
        bool, typer.Option("--with-costs", help="What it cost, in rows and card.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For a new dataset: everybody may see it.")
    ] = False,
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Also where it was edited on the Hub.")
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Upload an export to the Hugging Face Hub; run it again to go on, or to send what changed.

    It is made in DIR/exports/hub, parquet with its images unless --format says otherwise. A new
    dataset is private. The token is HF_TOKEN's, or that of `hf auth login`. Costs and the queries
    of URLs are left out.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    from fluxbatch.cli.render.export import export_lines, push_json, push_lines
    from fluxbatch.config.api_keys import ApiKey
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.export.export import write_export
    from fluxbatch.export.filter import EVERYTHING, parse_filter
    from fluxbatch.export.hub import dataset_of, hub_token
    from fluxbatch.export.push import hub_request, push_exported

    dataset_of(url)
    token = hub_token()
    console.redact_key([ApiKey(token, label="hub")])
    request = hub_request(
        dataset_at(folder),
        form,
        where=parse_filter(where) if where else EVERYTHING,
        splits=split or (),
        shard_size=shard_size,
        include_failed=include_failed,
        license_id=license_id,
        with_costs=with_costs,
    )
    done = write_export(request)
    for line in export_lines(done):
        console.info(line)
    pushed = push_exported(
        done, form, url, token, public=public, replace_card=replace_card, tell=console.info
    )
    for line in push_lines(pushed):
        console.info(line)
    if as_json:
        console.object(push_json(pushed, done, form))
    else:
        console.print(pushed.url)
    return 0
