"""`fluxbatch keys`: which keys there are, and which work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import BaseUrlOption, JsonFlag, console_for


def keys_command(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A config that names keys.")
    ] = None,
    base_url: BaseUrlOption = "",
    as_json: JsonFlag = False,
) -> int:
    """Each key's label, fingerprint, account and health; exit 5 if none works."""
    console = console_for(ctx, as_json=as_json)
    import anyio

    from fluxbatch.cli.render.keys import health_json, health_lines
    from fluxbatch.cli.source import CommandSource
    from fluxbatch.errors import ExitCode
    from fluxbatch.maintenance.key_check import check_keys

    asked = CommandSource(console, config, base_url=base_url)
    asked.name_provider()
    checked = anyio.run(check_keys, asked.settings.provider, asked.keys())
    code = ExitCode.DONE if any(key.works for key in checked) else ExitCode.NO_KEY
    console.answer(
        lambda: {"exit": int(code), "keys": [health_json(key) for key in checked]},
        health_lines(checked),
    )
    return code
