"""`fluxbatch init`: a config and a manifest to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.options import console_for

_FILES = {
    "fluxbatch.yaml": "starter/fluxbatch.yaml",
    "manifest.csv": "starter/manifest.csv",
    "photos/astronaut.jpg": "photos/astronaut.jpg",
    "photos/coffee.webp": "photos/coffee.webp",
    "photos/SOURCES.md": "photos/SOURCES.md",
}
"""What is written, and the packaged file it is a copy of."""


def init_command(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to write them.", show_default=False)
    ] = Path(),
) -> int:
    """Write a config, a manifest and two photos to start from; overwrites nothing."""
    console = console_for(ctx)
    from importlib.resources import files

    from fluxbatch.domain.formatting import shell_word
    from fluxbatch.errors import ConfigError

    if there := [name for name in _FILES if (folder / name).exists()]:
        raise ConfigError(
            f"{', '.join(repr(str(folder / name)) for name in there)} would be overwritten;"
            " name an empty folder"
        )
    packaged = files("fluxbatch") / "demo"
    for name, source in _FILES.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(packaged.joinpath(*source.split("/")).read_bytes())
        except OSError as exc:
            raise ConfigError(f"cannot write {str(target)!r}: {exc.strerror}") from exc
        console.info(f"wrote {target}")
    config, out = shell_word(folder / "fluxbatch.yaml"), shell_word(folder / "dataset")
    console.info("")
    console.info("next:")
    console.info("  export EACHLABS_API_KEY=…")
    console.info(f"  fluxbatch plan {config}              what it makes and costs; spends nothing")
    console.info(f"  fluxbatch run {config} --out {out}")
    return 0
