"""The sidecars of a dataset: each whole beside its image, none without one.

Owns what is written anew and what is removed: a sidecar is made of the ledger alone, so whatever a
power cut, a full disk or an editor did to it is mended for nothing. Whether the dataset has
sidecars is for its settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath

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
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.audit import unnamed
from fluxbatch.ledger.queries.provenance import (
    StoredImage,
    edition_of,
    provenance_of,
    stored_images,
)
from fluxbatch.sink import ENDINGS, ImageStore

_PAGE = 1_000
_JOB_CHARS = 32


async def write_missing(session: RunSession) -> int:
    """Write every sidecar anew that is not whole; how many. Images that are gone get none."""
    images, to_thread = session.context.images, session.context.runtime.to_thread
    after, written = -1, 0
    while page := await session.context.read(partial(stored_images, after=after, most=_PAGE)):
        after = page[-1].seq
        for image in await to_thread(partial(_untold, images, page)):
            facts = await session.context.read(partial(_facts, image=image))
            content = as_sidecar(facts)
            await to_thread(partial(images.put_sidecar, sidecar_path(image.path), content))
            written += 1
    return written


async def without_sidecars(session: RunSession, strays: Iterable[str]) -> list[str]:
    """Those of *strays* that are no sidecars of ours; a sidecar without an image is removed."""
    return [path for path in strays if not await _is_sidecar(session, path)]


async def _is_sidecar(session: RunSession, path: str) -> bool:
    images, to_thread = session.context.images, session.context.runtime.to_thread
    if not path.endswith(".json") or stem_of_path(path) is None:
        return False
    named = await session.context.read(partial(_image_of, path=path))
    if named is not None and await to_thread(partial(images.has, named)):
        return True
    return await to_thread(partial(_removed_orphan, images, path))


def _untold(images: ImageStore, stored: Sequence[StoredImage]) -> list[StoredImage]:
    """Those that are there, carry no facts and have no sidecar of theirs. Blocks."""
    return [
        one
        for one in stored
        if not one.is_embedded
        and not matches(_read(images, sidecar_path(one.path)), job=one.job, sha256=one.image.sha256)
        and images.has(one.path)
    ]


def _facts(db: Database, image: StoredImage) -> Metadata:
    edition = edition_of(db, image.prediction_seq)
    return image_metadata(
        provenance_of(db, image.prediction_seq, edition), image.number, image.image
    )


def _image_of(db: Database, path: str) -> str | None:
    """The stored image whose sidecar *path* is, if the ledger has one."""
    images = _images_beside(path)
    strange = set(unnamed(db, images))
    return next((image for image in images if image not in strange), None)


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


def _read(images: ImageStore, path: str) -> Metadata | None:
    with suppress(OSError), images.open(path) as file:
        return read_facts(file.read(MAX_METADATA_BYTES + 1))
    return None
