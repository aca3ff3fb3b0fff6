"""The dataset card: a README.md on the dataset's content, making and cost.

Owns the text and the YAML header by which Hugging Face finds the splits. There is no date in it
and no path: the same dataset gives the same card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fluxbatch._version import __version__
from fluxbatch.domain.money import as_usd
from fluxbatch.ledger.queries.totals import Totals

NAME = "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of a card."""

    title: str
    format_name: str
    data_files: str
    """Where a split lies, with `SPLIT` in place of its name."""
    splits: Mapping[str, int]
    """Rows by split."""
    images: int
    models: tuple[str, ...]
    totals: Totals | None
    """Of the whole dataset, exported or not; None: nothing is said of costs."""
    has_controls: bool
    """Whether some images were made from another image."""
    where: str
    """The filter; empty: everything."""
    failed_in: int
    """Failed rows that are in it."""
    license: str | None


def card(about: Contents) -> bytes:
    """The whole file."""
    return "\n".join([*_header(about), *_body(about), ""]).encode()


def _header(about: Contents) -> Iterator[str]:
    yield "---"
    # Texts are written as JSON, which YAML reads alike, whatever is in them.
    if about.license:
        yield f"license: {json.dumps(about.license)}"
    else:
        yield "license: unknown  # yours to say: edit it here, or export with --license"
    yield f"pretty_name: {json.dumps(about.title)}"
    yield 'tags: ["fluxbatch", "synthetic", "image"]'
    tasks = ["text-to-image", *(["image-to-image"] if about.has_controls else [])]
    yield f"task_categories: {json.dumps(tasks)}"
    yield 'source_datasets: ["original"]'
    rows = sum(about.splits.values())
    yield f"size_categories: [{json.dumps(_size(rows))}]"
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for split in about.splits:
        yield f"  - split: {json.dumps(split)}"
        yield f"    path: {json.dumps(about.data_files.replace('SPLIT', split))}"
    if about.format_name == "imagefolder":
        yield "  drop_labels: true"
    yield "---"


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), "1M<n<10M")


def _body(about: Contents) -> Iterator[str]:
    rows, totals = sum(about.splits.values()), about.totals
    models = ", ".join(f"`{model}`" for model in about.models) or "no model"
    yield ""
    yield f"# {' '.join(about.title.split())}"
    yield ""
    yield f"{about.images:,} images in {rows:,} rows, made with {models} by fluxbatch {__version__}"
    yield f"and exported as {about.format_name}."
    yield ""
    yield "| split | rows |"
    yield "|---|---|"
    for split, count in about.splits.items():
        yield f"| {split} | {count:,} |"
    yield ""
    if about.where:
        yield f"Only rows with {_code(about.where)}."
    if about.failed_in:
        yield f"{about.failed_in:,} rows failed: their `error_class` says why, they have no image."
    if totals is not None:
        yield from _cost(totals)
        yield ""
    yield "Each row says how its image was made: `prompt`, `seed`, `model` and the whole `input`;"
    yield "`sha256` is of the image as it was delivered, `prediction_id` is the provider's name for"
    of_job = " `cost_usd` is that of the row's job: rows of one job each show all of it."
    yield "its making." + (of_job if totals is not None else " What it cost is left out.")


def _cost(totals: Totals) -> Iterator[str]:
    estimated = f", ${as_usd(totals.estimated)} of it estimated" if totals.estimated else ""
    on_failures = f", ${as_usd(totals.on_failures)} on failures" if totals.on_failures else ""
    yield (
        f"The dataset this was exported from has {totals.images:,} images and cost"
        f" ${as_usd(totals.spent)} in {totals.creates:,} predictions{estimated}{on_failures}."
    )


def _code(text: str) -> str:
    """On one line, between more backticks than it has in a row."""
    line = " ".join(text.split())
    fence = "`"
    while fence in line:
        fence += "`"
    return f"{fence} {line} {fence}" if len(fence) > 1 else f"`{line}`"
