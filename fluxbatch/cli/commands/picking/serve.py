"""`fluxbatch serve`: a page of the dataset that is live, for a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxbatch.cli.options import DatasetArgument, JsonFlag, QuietFlag, console_for


def serve_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen there; elsewhere takes a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0: any that is free.")
    ] = 0,
    has_buttons: Annotated[
        bool,
        typer.Option("--control", help="Buttons to pause and stop a run, and to change its cap."),
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Serve a page that shows the dataset as it changes, and where images are judged.

    It reads the ledger and writes ratings alone; Ctrl-C ends the page and not a run. With --control
    the page steers a run at work, and its address has a token.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet)
    import anyio

    from fluxbatch.cli.render.live_figures import LiveFigures
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.infra.runtime import loop_options
    from fluxbatch.live import LivePage, serve_page

    dataset = dataset_at(folder)

    def listening(address: str) -> None:
        if as_json:
            console.object({"url": address})
        else:
            console.print(address)
            console.info("Ctrl-C ends the page; a run goes on without it")

    page = LivePage(dataset, LiveFigures(dataset), host, port, has_buttons=has_buttons)
    try:
        anyio.run(serve_page, page, listening, backend_options=loop_options())
    except KeyboardInterrupt:
        console.info("the page has ended")
    return 0
