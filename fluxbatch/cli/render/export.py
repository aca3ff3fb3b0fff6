"""The output of `export`: the written files, in words and as an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fluxbatch.cli.render.text import count
from fluxbatch.domain.formatting import size
from fluxbatch.export.export import FAILED_ROWS
from fluxbatch.export.export_request import Exported
from fluxbatch.export.hub import Pushed


def export_lines(done: Exported) -> Iterator[str]:
    """What is in it, then what is not and why."""
    splits = ", ".join(f"{name} {rows:,}" for name, rows in sorted(done.splits.items()))
    yield f"{count(done.images, 'image')} in {count(done.rows, 'row')} ({splits})"
    yield f"{count(done.written, 'shard')} written, {done.kept:,} unchanged" + (
        f", {done.removed:,} of an earlier export removed" if done.removed else ""
    )
    if done.failed_rows and (done.path / FAILED_ROWS).is_file():
        yield f"{count(done.failed_rows, 'failed row')} in {done.path / FAILED_ROWS}"
    if done.failed_left_out:
        yield f"left out: {count(done.failed_left_out, 'failed row')} (--include-failed)"
    if done.unended_left_out:
        yield f"left out: {count(done.unended_left_out, 'row')} without an end yet"
    if done.controls_missing:
        yield (
            f"without their control image: {count(done.controls_missing, 'row')}; the file has"
            " changed or gone since the run"
        )
    if done.card_kept:
        yield "README.md was edited by hand and is kept; what it would be is in README.md.new"


def export_json(done: Exported, form: str) -> dict[str, Any]:
    """The object of `export --json`."""
    return {
        "path": str(done.path),
        "format": form,
        "rows": done.rows,
        "images": done.images,
        "failed_rows": done.failed_rows,
        "splits": dict(sorted(done.splits.items())),
        "shards": {"written": done.written, "unchanged": done.kept, "removed": done.removed},
        "left_out": {
            "failed": done.failed_left_out,
            "unended": done.unended_left_out,
            "control_images": done.controls_missing,
        },
        "card_kept": done.card_kept,
    }


def push_lines(done: Pushed) -> Iterator[str]:
    """What was sent, then what was not."""
    yield (
        f"{count(done.uploaded, 'file')} uploaded ({size(done.bytes)}) in"
        f" {count(done.commits, 'commit')}, {done.unchanged:,} unchanged"
        + (f", {done.removed:,} of an earlier push removed" if done.removed else "")
    )
    if done.card_kept:
        yield "the card was edited on the Hub and is kept (--replace-card)"


def push_json(done: Pushed, exported: Exported, form: str) -> dict[str, Any]:
    """The object of `push --json`."""
    return {
        "url": done.url,
        "format": form,
        "rows": exported.rows,
        "images": exported.images,
        "splits": dict(sorted(exported.splits.items())),
        "files": {
            "uploaded": done.uploaded,
            "unchanged": done.unchanged,
            "removed": done.removed,
        },
        "bytes": done.bytes,
        "commits": done.commits,
        "card_kept": done.card_kept,
    }
