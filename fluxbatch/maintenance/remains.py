"""The remains of a dataset whose ledger is lost: what its files still tell.

Owns the reading of images, sidecars and names into jobs, predictions and outputs. Whatever a file
says may be anybody's: each value is of its type and in bounds, or taken as not known. Changes no
file. Blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fluxbatch.domain.filenames import NamedOutput, output_of_name
from fluxbatch.domain.provenance import MAX_METADATA_BYTES, Metadata, read_facts
from fluxbatch.sink import ENDINGS, Images
from fluxbatch.sink.metadata import embedded_facts
from fluxbatch.sink.verify import InvalidImage, verify

_MOST_IMAGE_BYTES = 1_000_000_000
_MOST_INT = 2**53
_MOST_OUTPUTS = 1_000


class KeptImage(NamedTuple):
    """An output whose image is there."""

    path: str
    sha256: str
    """As it was delivered."""
    bytes: int
    mime: str
    width: int
    height: int
    file_sha256: str | None
    stored: datetime | None


@dataclass(slots=True)
class KeptPrediction:
    """One prediction of a job, by its edition."""

    facts: Mapping[str, Any]
    """Empty where nothing but the names of its images is known."""
    images: dict[int, KeptImage] = field(default_factory=dict)
    highest: int = 0
    """The highest number of an output that is known of."""

    @property
    def provider_id(self) -> str | None:
        return text_of(self.facts, "prediction_id")

    @property
    def created(self) -> datetime | None:
        return _moment_of(self.facts, "created_at")

    @property
    def seed(self) -> int | None:
        return whole_of(self.facts, "seed")


@dataclass(slots=True)
class Remains:
    """Everything that was found."""

    predictions: dict[tuple[str, int], KeptPrediction] = field(default_factory=dict)
    """By the job's id in hex and the edition."""
    by_name: int = 0
    """Images that say no more than their names."""
    without_image: int = 0
    """Sidecars whose images are gone."""
    unread: list[str] = field(default_factory=list)
    """Files in `images/` that say nothing we know, or cannot be read."""


def read_remains(images: Images, max_pixels: int) -> Remains:
    """Whatever the dataset's images, sidecars and names tell."""
    remains, sidecars, seen = Remains(), dict[str, str](), set[str]()
    pictures: list[tuple[str, NamedOutput]] = []
    for path in images.paths():
        stem, _, ending = path.rpartition(".")
        named = output_of_name(path.rpartition("/")[2])
        if named is None or named.number >= _MOST_OUTPUTS:
            remains.unread.append(path)
        elif ending == "json":
            sidecars[stem] = path
        elif ending in ENDINGS:
            pictures.append((path, named))
    for path, named in pictures:
        stem = path.rpartition(".")[0]
        seen.add(stem)
        _take_image(remains, images, path, named, sidecars.get(stem), max_pixels)
    _take_lone(remains, images, (path for stem, path in sidecars.items() if stem not in seen))
    return remains


def _take_image(
    remains: Remains, images: Images, path: str, named: NamedOutput, sidecar: str | None, most: int
) -> None:
    facts = _sidecar_facts(images, sidecar, named) if sidecar is not None else None
    try:
        image, facts = _told(images, path, facts, named, most)
    except (OSError, InvalidImage):
        remains.unread.append(path)
        return
    remains.by_name += facts is None
    kept = remains.predictions.setdefault((named.job, named.edition), KeptPrediction({}))
    if facts is not None and not kept.facts:
        kept.facts = facts
    kept.images[named.number] = image
    kept.highest = max(kept.highest, named.number)


def _take_lone(remains: Remains, images: Images, sidecars: Iterable[str]) -> None:
    for path in sidecars:
        named = output_of_name(path.rpartition("/")[2])
        facts = _sidecar_facts(images, path, named) if named is not None else None
        if named is None or facts is None:
            remains.unread.append(path)
            continue
        remains.without_image += 1
        kept = remains.predictions.setdefault((named.job, named.edition), KeptPrediction(facts))
        kept.facts = kept.facts or facts
        kept.highest = max(kept.highest, named.number)


def _sidecar_facts(images: Images, path: str, named: NamedOutput) -> Metadata | None:
    with suppress(OSError), images.open(path) as file:
        return _ours(read_facts(file.read(MAX_METADATA_BYTES + 1)), named)
    return None


def _ours(facts: Metadata | None, named: NamedOutput) -> Metadata | None:
    """*facts*, where they are those of the output that the file's name says."""
    if facts is None or facts.get("job") != named.job:
        return None
    is_it = (facts.get("edition", 0), facts.get("number")) == (named.edition, named.number)
    has_input = isinstance(facts.get("input"), dict) and text_of(facts, "model") is not None
    return facts if is_it and has_input else None


def _told(
    images: Images, path: str, facts: Metadata | None, named: NamedOutput, most: int
) -> tuple[KeptImage, Metadata | None]:
    """The image by its facts, where they are whole, else by its own bytes."""
    if facts is not None and (image := _by_facts(path, facts)) is not None:
        return image, facts
    with images.open(path) as file:
        content = file.read(_MOST_IMAGE_BYTES)
        file.seek(0)
        seen = verify(file, max_pixels=most)
    digest = hashlib.sha256(content).hexdigest()
    text = embedded_facts(content)
    within = _ours(read_facts(text), named) if text is not None else None
    if within is not None and (image := _by_facts(path, within)) is not None:
        return image._replace(file_sha256=digest), within
    size = (seen.width, seen.height)
    return KeptImage(path, digest, len(content), seen.kind.mime, *size, None, None), facts


def _by_facts(path: str, facts: Metadata) -> KeptImage | None:
    sha256, mime = text_of(facts, "sha256"), text_of(facts, "mime")
    numbers = [whole_of(facts, name) for name in ("bytes", "width", "height")]
    size, width, height = numbers
    if sha256 is None or mime is None or size is None or width is None or height is None:
        return None
    stored = _moment_of(facts, "stored_at")
    return KeptImage(path, sha256, size, mime, width, height, None, stored)


def text_of(facts: Mapping[str, Any], name: str) -> str | None:
    """A text of at most 1,000 characters that UTF-8 has; None for everything else."""
    value = facts.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 1_000:
        return None
    return value if value.isprintable() else None  # half a surrogate pair is not


def whole_of(facts: Mapping[str, Any], name: str) -> int | None:
    """A whole number from 0 that JSON can carry; None for everything else."""
    value = facts.get(name)
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_INT
    return value if is_whole else None


def _moment_of(facts: Mapping[str, Any], name: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text_of(facts, name) or "")
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
