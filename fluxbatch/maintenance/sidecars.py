"""The sidecars of a dataset: each whole beside its image, none without one.

Owns what is written anew and what is removed: a sidecar is made of the ledger alone, so whatever a
power cut, a full disk or an editor did to it is mended for nothing. Whether the dataset has
sidecars is for its settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from fluxbatch.domain.filenames import output_stem, sidecar_path, stem_of_path
from fluxbatch.domain.provenance import (
    MAX_METADATA_BYTES,
    Metadata,
    as_sidecar,
    image_metadata,
    matches,
    read_facts,
)
from fluxbatch.engine.session import RunSession
from fluxbatch.errors import SinkError
from fluxbatch.infra.concurrency import for_each
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.audit import unnamed
from fluxbatch.ledger.queries.provenance import (
    StoredImage,
    edition_of,
    provenance_of,
    stored_images,
)
from fluxbatch.shards.pool import ShardPool
from fluxbatch.sink import ENDINGS, ImageStore
from fluxbatch.sink.store import Images

_PAGE = 1_000
_BATCH = 250
_JOB_CHARS = 32
_MOST_FAILED = 20
"""After so many it is the disk's fault, and not theirs."""


class SidecarCheck(NamedTuple):
    """Images whose sidecars are looked at."""

    images: Images
    stored: tuple[StoredImage, ...]


async def write_missing(session: RunSession, pool: ShardPool) -> tuple[int, list[str]]:
    """Write every sidecar anew that is not whole; how many, and why others could not be. Images
    that are gone get none. They are looked at in *pool*."""
    images, to_thread = session.context.images, session.context.runtime.to_thread
    written, failed = 0, list[str]()

    async def write(page: tuple[StoredImage, ...]) -> None:
        nonlocal written
        asked = partial(pool.ask, untold, SidecarCheck(images, page))
        for number in await to_thread(asked):
            if len(failed) >= _MOST_FAILED:
                return
            image = page[number]
            facts = await session.context.read(partial(_facts, image=image))
            content = as_sidecar(facts)
            try:
                await to_thread(partial(images.put_sidecar, sidecar_path(image.path), content))
            except SinkError as exc:
                failed.append(str(exc))
            else:
                written += 1

    after = -1
    while len(failed) < _MOST_FAILED and (
        page := await session.context.read(partial(stored_images, after=after, most=_PAGE))
    ):
        after = page[-1].seq
        batches = [tuple(page[start : start + _BATCH]) for start in range(0, len(page), _BATCH)]
        await for_each(batches, write, at_once=pool.at_once)
    return written, failed


async def without_sidecars(session: RunSession, strays: Sequence[str]) -> list[str]:
    """Those of *strays* that are no sidecars of ours; a sidecar without an image is removed."""
    images, to_thread = session.context.images, session.context.runtime.to_thread
    others: list[str] = []
    for start in range(0, len(strays), _PAGE):
        page = strays[start : start + _PAGE]
        named = await session.context.read(partial(_images_of, paths=page))
        others += await to_thread(partial(_others, images, named))
    return others


def untold(check: SidecarCheck) -> list[int]:
    """Those that are there, carry no facts and have no sidecar of theirs, by their numbers from 0.
    Blocks; in whatever process."""
    return [
        number
        for number, one in enumerate(check.stored)
        if not one.is_embedded
        and not matches(
            _read(check.images, sidecar_path(one.path)), job=one.job, sha256=one.image.sha256
        )
        and check.images.has(one.path)
    ]


def _facts(db: Database, image: StoredImage) -> Metadata:
    edition = edition_of(db, image.prediction_seq)
    return image_metadata(
        provenance_of(db, image.prediction_seq, edition), image.number, image.image
    )


def _images_of(db: Database, paths: Sequence[str]) -> dict[str, str | None]:
    """By path: the stored image whose sidecar it is, if the ledger has one."""
    return {path: _image_of(db, path) if _may_be_sidecar(path) else None for path in paths}


def _image_of(db: Database, path: str) -> str | None:
    return next((one for one in _images_beside(path) if not unnamed(db, [one])), None)


def _may_be_sidecar(path: str) -> bool:
    return path.endswith(".json") and stem_of_path(path) is not None


def _others(images: ImageStore, named: Mapping[str, str | None]) -> list[str]:
    """The paths that are no sidecars; those of sidecars without an image are removed. Blocks."""
    return [
        path
        for path, image in named.items()
        if not (image is not None and images.has(image))
        and not (_may_be_sidecar(path) and _removed_orphan(images, path))
    ]


def _removed_orphan(images: ImageStore, path: str) -> bool:
    """Whether it was a sidecar that we wrote under this very name, and nothing is left for it to
    tell of. Blocks."""
    facts, stem = _read(images, path), PurePosixPath(path).stem
    if facts is None or len(facts["job"]) != _JOB_CHARS:
        return False
    number, edition = facts.get("number"), facts.get("edition", 0)
    if not isinstance(number, int) or not isinstance(edition, int):
        return False
    if not stem.endswith(output_stem(facts["job"], edition, number)):
        return False
    if any(images.has(image) for image in _images_beside(path)):
        return False
    images.remove(path)
    return True


def _images_beside(path: str) -> list[str]:
    return [f"{path.removesuffix('.json')}.{ending}" for ending in ENDINGS]


def _read(images: Images, path: str) -> Metadata | None:
    with suppress(OSError), images.open(path) as file:
        return read_facts(file.read(MAX_METADATA_BYTES + 1))
    return None
