"""The writing of one shard, in whatever process.

Owns what such a process needs to be told: values alone. It writes a draft and gives nothing its
name: that is for the one that holds the export's folder, which another process cannot outlive.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.export.formats import open_format, writing
from fluxbatch.export.formats.base import SpooledShard
from fluxbatch.export.images import SampleImages
from fluxbatch.export.output_dir import Draft, OutputDir


class ShardTask(NamedTuple):
    """A shard to be written."""

    spooled: SpooledShard
    format: str
    embed_images: bool
    controls: ControlFiles
    """With the store of the images."""
    dataset: str
    """As it is typed into a shell, for people."""
    place: Path
    """The folder of the export."""
    mark: str


def write_shard(task: ShardTask) -> Draft | None:
    """The shard's files as a draft; None where they are there already, as they should be.

    Raises `ExportFailed`.
    """
    place = OutputDir(task.place)
    if place.is_done(task.mark, task.spooled.made_of):
        return None
    images = SampleImages(task.controls, task.dataset)
    made = open_format(task.format, images, embed=task.embed_images)
    with writing(made.name), place.draft() as draft:
        task.spooled.write(made, draft)
    return draft
