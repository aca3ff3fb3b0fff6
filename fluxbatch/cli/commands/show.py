"""`fluxbatch show` and `fluxbatch why`: one result, and how it came to be what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxbatch.cli.completion import job_names
from fluxbatch.cli.console import Console
from fluxbatch.cli.options import DatasetArgument, JsonFlag, console_for

PlaceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR|FILE",
        help="The dataset's folder; or an image by itself, for what that tells.",
        show_default=False,
    ),
]
_WHICH = "'#12', an id of the manifest, the start of a job's id, a prediction, or a file."
Name = Annotated[
    str,
    typer.Argument(metavar="FILE|JOB", help=_WHICH, show_default=False, autocompletion=job_names),
]
NameOrNone = Annotated[
    str | None,
    typer.Argument(metavar="[FILE|JOB]", help=_WHICH, show_default=False, autocompletion=job_names),
]


def show_command(
    ctx: typer.Context, place: PlaceArgument, name: NameOrNone = None, as_json: JsonFlag = False
) -> int:
    """Inputs, seed, prediction, cost, hashes, size and control image of one result.

    A file may lie in the dataset or be a copy of one, anywhere. Each image is read and compared
    with the ledger. Without a dataset an image tells what its sidecar or its own file holds.
    """
    console = console_for(ctx, as_json=as_json)
    if name is None:
        _show_file(console, place)
    else:
        _show_result(console, place, name)
    return 0


def why_command(
    ctx: typer.Context, folder: DatasetArgument, name: Name, as_json: JsonFlag = False
) -> int:
    """The whole history of one job in words: every attempt, what it cost, what to do next.

    Times are UTC.
    """
    console = console_for(ctx, as_json=as_json)
    from fluxbatch.cli.render.job_history import history_json, history_lines
    from fluxbatch.cli.render.result import ResultView
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.find_job import find_job

    dataset = dataset_at(folder)
    with dataset.reader() as db:
        what = ResultView.read(db, dataset, find_job(db, dataset, name))
    console.answer(lambda: history_json(what), history_lines(what))
    return 0


def _show_result(console: Console, place: Path, name: str) -> None:
    from fluxbatch.cli.render.result import ResultView, result_json, result_lines
    from fluxbatch.dataset.address import dataset_at
    from fluxbatch.dataset.find_job import find_job

    dataset = dataset_at(place)
    with dataset.reader() as db:
        what = ResultView.read(db, dataset, find_job(db, dataset, name))
    console.answer(lambda: result_json(what), result_lines(what))


def _show_file(console: Console, path: Path) -> None:
    from fluxbatch.cli.render.image_facts import facts_json, facts_lines
    from fluxbatch.domain.formatting import shell_word
    from fluxbatch.errors import ConfigError
    from fluxbatch.sink.image_facts import read_image_facts

    if path.parts and path.parts[0] in {"s3:", "gs:", "az:"}:
        raise ConfigError("of an image in a bucket its dataset knows: fluxbatch show DIR URL")
    if path.is_dir():
        raise ConfigError(
            f"name a file or a job of {str(path)!r}: fluxbatch show {shell_word(path)} '#1'"
        )
    image = read_image_facts(path)
    if image is None:
        raise ConfigError(
            f"{str(path)!r} does not tell how it was made, and no sidecar lies beside it;"
            " ask its dataset: fluxbatch show DIR FILE"
        )
    console.answer(lambda: facts_json(image), facts_lines(image))
