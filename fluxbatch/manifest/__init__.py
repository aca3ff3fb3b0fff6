"""Manifests: files and sweeps into rows, each with its job or the reason it has none."""

from __future__ import annotations

from fluxbatch.manifest.control import FileHash, FileHashes, FileStamp, MemoryFileHashes
from fluxbatch.manifest.manifest import Manifest, Shape
from fluxbatch.manifest.rows import OnBad
from fluxbatch.manifest.seen import SeenHashes
from fluxbatch.manifest.sweep import Cells

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
