"""The facts an image carries: read from its sidecar, or out of its own file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from fluxbatch.domain.provenance import MAX_METADATA_BYTES, Metadata, read_facts
from fluxbatch.errors import ConfigError
from fluxbatch.sink.metadata import embedded_facts, has_credentials

_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """A file and its facts."""

    path: Path
    facts: Metadata
    source: str
    """`embedded`, or the sidecar's name."""
    is_whole: bool | None
    """Whether the bytes are those that were delivered; None where that cannot be said."""
    is_signed: bool
    """Whether it carries content credentials."""


def read_image_facts(path: Path) -> ImageFacts | None:
    """The metadata in the file at *path*, or in its sidecar beside it; None without any.

    Raises `ConfigError` where it cannot be read.
    """
    try:
        status = path.stat()
        if status.st_size > _MOST_BYTES or not S_ISREG(status.st_mode):  # a device has no end
            return None
        content = path.read_bytes()
        if (facts := read_facts(content)) is not None:
            return ImageFacts(path, facts, path.name, None, False)
        if (text := embedded_facts(content)) and (facts := read_facts(text)) is not None:
            return ImageFacts(path, facts, "embedded", None, has_credentials(content))
        beside = path.with_suffix(".json")
        facts = _read(beside) if beside.is_file() else None
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot read {str(path)!r}: {exc}") from exc
    if facts is None:
        return None
    is_whole = hashlib.sha256(content).hexdigest() == facts.get("sha256")
    return ImageFacts(path, facts, beside.name, is_whole, has_credentials(content))


def _read(sidecar: Path) -> Metadata | None:
    with sidecar.open("rb") as file:
        return read_facts(file.read(MAX_METADATA_BYTES + 1))
