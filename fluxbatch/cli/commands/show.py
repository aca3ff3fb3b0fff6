"""`fluxbatch show`: everything of one result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.console import Talk
from fluxbatch.cli.options import Json, voice

Place = Annotated[
    Path,
    typer.Argument(
        metavar="DIR|FILE",
        help="The dataset's folder; or an image by itself, for what that tells.",
        show_default=False,
    ),
]
_WHICH = "'#12', an id of the manifest, the start of a job's id, a prediction, or a file."
Name = Annotated[str, typer.Argument(metavar="FILE|JOB", help=_WHICH, show_default=False)]
NameOrNone = Annotated[
    str | None, typer.Argument(metavar="[FILE|JOB]", help=_WHICH, show_default=False)
]


def show(ctx: typer.Context, place: Place, name: NameOrNone = None, as_json: Json = False) -> int:
    """Inputs, seed, prediction, cost, hashes, size and control image of one result.

    A file may lie in the dataset or be a copy of one, anywhere. Each image is read and compared
    with the ledger. Without a dataset an image tells what its sidecar or its own file holds.
    """
    talk = voice(ctx, as_json=as_json)
    if name is None:
        _show_file(talk, place, as_json=as_json)
    else:
        _show_result(talk, place, name, as_json=as_json)
    return 0


def _show_result(talk: Talk, place: Path, name: str, *, as_json: bool) -> None:
    from fluxbatch.cli.render.result import Shown, shown_json, shown_lines
    from fluxbatch.dataset.find_job import meant
    from fluxbatch.dataset.folder import Folder

    dataset = Folder(place)
    with dataset.reader() as db:
        what = Shown.read(db, dataset, meant(db, dataset, name))
    if as_json:
        talk.object(shown_json(what))
    else:
        for line in shown_lines(what):
            talk.data(line)


def _show_file(talk: Talk, path: Path, *, as_json: bool) -> None:
    from fluxbatch.cli.render.image_facts import told_json, told_lines
    from fluxbatch.errors import ConfigError
    from fluxbatch.sink.image_facts import told_by

    if path.parts and path.parts[0] in {"s3:", "gs:", "az:"}:
        raise ConfigError("of an image in a bucket its dataset knows: fluxbatch show DIR URL")
    if path.is_dir():
        raise ConfigError(f"name a file or a job of {str(path)!r}: fluxbatch show {path} '#1'")
    told = told_by(path)
    if told is None:
        raise ConfigError(
            f"{str(path)!r} does not tell how it was made, and no sidecar lies beside it;"
            " ask its dataset: fluxbatch show DIR FILE"
        )
    if as_json:
        talk.object(told_json(told))
    else:
        for line in told_lines(told):
            talk.data(line)
