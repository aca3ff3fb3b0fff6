"""The sight of other machines: whether they see a dataset's images and the folder of results.

Owns the refusal of a machine that would find another disk under the same name. What it is asked is
a whole image of the dataset and a file that was just written; nothing stays.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fluxbatch.errors import ConfigError, FluxbatchError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.audit import stored_after
from fluxbatch.shards.pool import ShardPool
from fluxbatch.sink import Images
from fluxbatch.sink.file_check import FileCheck, KnownFile, check_files

_LOOKED_AT = 100


class Sight(NamedTuple):
    """What a machine has to see."""

    check: FileCheck | None
    mark: str
    """A file in the folder of results; empty: nothing is written."""


def refuse_blind_nodes(
    pool: ShardPool, db: Database, images: Images | None, results: Path | None
) -> None:
    """Raise `ConfigError` naming a machine of *pool* that sees not these images, or not *results*,
    a folder that is there; what is None need not be seen."""
    if not pool.is_elsewhere:
        return
    with _marked(results) as mark:
        for node, why in pool.everywhere(unseen, Sight(_whole_file(db, images), mark)):
            if why == "results":
                raise ConfigError(
                    f"{node} does not see {str(results)!r}: write to a folder on a disk that all"
                    " nodes mount in the same place (--to), or leave --on ray out"
                )
            if why and images is not None:
                raise ConfigError(
                    f"{node} does not see the dataset's images at {images.address!r} ({why}): have"
                    " the dataset on a disk that all nodes mount in the same place, or its images"
                    " in a bucket that all of them may read (sink.store), or leave --on ray out"
                )


def unseen(sight: Sight) -> str:
    """On a machine that is asked: what it does not see; empty where it sees all of it."""
    if sight.mark and not os.path.isfile(sight.mark):
        return "results"
    if sight.check is None:
        return ""
    try:
        faults = check_files(sight.check)
    except FluxbatchError as exc:
        return str(exc)
    return faults[0].words if faults else ""


def _whole_file(db: Database, images: Images | None) -> FileCheck | None:
    """One that this machine sees itself; None where there is none to be seen."""
    if images is None:
        return None
    for stored in stored_after(db, -1, _LOOKED_AT):
        check = FileCheck(images, (KnownFile(stored.path, stored.sha256, stored.bytes),))
        if not check_files(check):
            return check
    return None


@contextmanager
def _marked(results: Path | None) -> Iterator[str]:
    """A new empty file in *results*, by its path."""
    if results is None:
        yield ""
        return
    mark = results / f".seen-{secrets.token_hex(16)}"
    try:
        mark.touch(exist_ok=False)
    except OSError as exc:
        raise ConfigError(f"cannot write in {str(results)!r}: {exc.strerror or exc}") from exc
    try:
        yield str(mark)
    finally:
        mark.unlink(missing_ok=True)
