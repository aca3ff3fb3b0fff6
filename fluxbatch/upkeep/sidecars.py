"""The sidecars of a dataset: each whole beside its image, none without one.

Owns what is written anew and what is removed: a sidecar is made of the ledger alone, so whatever a
power cut, a full disk or an editor did to it is mended for nothing. Whether the dataset has
sidecars is for its settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from fluxbatch.ledger.audits import unnamed
from fluxbatch.ledger.database import Database
from fluxbatch.ledger.provenance import StoredImage, edition_of, provenance_of, stored_images
from fluxbatch.provenance import Facts, as_sidecar, facts_of, read_facts, tells_of
from fluxbatch.sink import ENDINGS, LocalStore
from fluxbatch.stems import sidecar_path, stem_of_path
from fluxbatch.upkeep.attending import Attendance

_PAGE = 1_000
_MOST_BYTES = 16 * 1024 * 1024


async def write_missing(attendance: Attendance) -> int:
    """Write every sidecar anew that is not whole; how many. Images that are gone get none."""
    root, blocking = attendance.folder.root, attendance.desk.seams.blocking
    store = LocalStore(root)
    after, written = -1, 0
    while page := await attendance.read(partial(stored_images, after=after, most=_PAGE)):
        after = page[-1].seq
        for image in await blocking(partial(_untold, root, page)):
            facts = await attendance.read(partial(_facts, image=image))
            content = as_sidecar(facts)
            await blocking(partial(store.put_sidecar, sidecar_path(image.path), content))
            written += 1
    return written


async def without_sidecars(attendance: Attendance, strays: Iterable[str]) -> list[str]:
    """Those of *strays* that are no sidecars; a sidecar without its image is removed."""
    return [path for path in strays if not await _is_sidecar(attendance, path)]


async def _is_sidecar(attendance: Attendance, path: str) -> bool:
    root, blocking = attendance.folder.root, attendance.desk.seams.blocking
    if not path.endswith(".json") or stem_of_path(path) is None:
        return False
    if await attendance.read(partial(_has_image, root=root, path=path)):
        return True
    return await blocking(partial(_removed_orphan, root / path))


def _untold(root: Path, images: Sequence[StoredImage]) -> list[StoredImage]:
    """Those that are there, carry no facts and have no sidecar of theirs. Blocks."""
    return [
        one
        for one in images
        if not one.is_embedded
        and not tells_of(_read(root / sidecar_path(one.path)), job=one.job, sha256=one.image.sha256)
        and (root / one.path).is_file()
    ]


def _facts(db: Database, image: StoredImage) -> Facts:
    edition = edition_of(db, image.prediction_seq)
    return facts_of(provenance_of(db, image.prediction_seq, edition), image.number, image.image)


def _has_image(db: Database, root: Path, path: str) -> bool:
    """Whether the ledger and the disk both have its image."""
    images = [f"{path.removesuffix('.json')}.{ending}" for ending in ENDINGS]
    return any((root / image).is_file() and not unnamed(db, [image]) for image in images)


def _removed_orphan(path: Path) -> bool:
    """Whether it was a sidecar that we wrote under this very name. Blocks."""
    facts = _read(path)
    if facts is None or not path.stem.endswith(f"_{facts.get('number')}"):
        return False
    if facts["job"] not in path.stem:
        return False
    path.unlink(missing_ok=True)
    return True


def _read(path: Path) -> Facts | None:
    with suppress(OSError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= _MOST_BYTES:
            return read_facts(file.read())
    return None
