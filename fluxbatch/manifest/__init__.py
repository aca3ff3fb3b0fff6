"""Manifests: files and sweeps into rows, each with its job or the reason it has none."""

from __future__ import annotations

from fluxbatch.infra.compact_set import SeenHashes
from fluxbatch.manifest.control_images.resolve import (
    FileHash,
    FileHashes,
    FileStamp,
    MemoryFileHashes,
)
from fluxbatch.manifest.manifest import Manifest, Shape
from fluxbatch.manifest.row_builder import OnBad
from fluxbatch.manifest.sweep.cells import Cells

__all__ = [
    "Cells",
    "FileHash",
    "FileHashes",
    "FileStamp",
    "Manifest",
    "MemoryFileHashes",
    "OnBad",
    "SeenHashes",
    "Shape",
]
