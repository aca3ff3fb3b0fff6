"""`fluxbatch recover`: a lost ledger, written anew from the dataset's own files."""

from __future__ import annotations

import typer

from fluxbatch.cli.options import (
    BaseUrlOption,
    DatasetArgument,
    JsonFlag,
    QuietFlag,
    VerboseFlag,
    console_for,
)


def recover_command(
    ctx: typer.Context,
    folder: DatasetArgument,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> int:
    """Write the ledger of a dataset that has lost it, from images, sidecars and names.

    A run of the same manifest then buys none of what is there again. With a key the provider's
    listing tells what it cost. Buys nothing and changes no image. Exit 2: the ledger is there, or
    nothing tells of one.
    """
    console = console_for(ctx, as_json=as_json, quiet=quiet, verbose=verbose)
    from functools import partial

    import anyio

    from fluxbatch.cli.render.maintenance import recover_lines
    from fluxbatch.cli.source import CommandSource
    from fluxbatch.config.api_keys import Keyring
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.errors import ConfigError
    from fluxbatch.infra.runtime import loop_options
    from fluxbatch.maintenance import DatasetRequest
    from fluxbatch.maintenance.recover import recover_dataset

    asked = CommandSource(console, base_url=base_url)
    asked.name_provider()
    try:
        keys = asked.keys()
    except ConfigError as exc:
        keys = Keyring()
        console.info(f"note: {exc}; what was paid is an estimate until `reconcile` asks")
    request = DatasetRequest(asked.settings, keys, dataset_at(folder))
    report = anyio.run(partial(recover_dataset, request), backend_options=loop_options())
    console.answer(report.as_json, recover_lines(report, request.folder))
    return int(report.ended()[0])
