"""The comparison of a run's new images, a little behind the run.

Owns when it happens: in small portions between what the run itself has to write, and the rest at
the end. What is left over is compared by the next run; until then whoever reads does it himself.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.resemblance import CompareImages
from fluxbatch.ledger.writer import LedgerWriter, commit

_EVERY_S = 10.0
_PAUSE_S = 0.1
_PORTION = 500
"""Some 30 ms of the ledger's thread."""
_MOST_AT_THE_END = 5_000
"""A second of those images that an older version left uncompared."""


async def compare_as_they_come(ledger: LedgerWriter, is_ours: Callable[[], bool]) -> None:
    """Until it is cancelled, whenever it is this process's affair."""
    while True:
        compared = await ledger.apply(CompareImages(_PORTION)) if is_ours() else 0
        await anyio.sleep(_PAUSE_S if compared == _PORTION else _EVERY_S)


def compare_the_rest(db: Database) -> None:
    """At the end of a run, when nobody else writes."""
    left = _MOST_AT_THE_END
    while left > 0 and commit(db, CompareImages(_PORTION)) == _PORTION:
        left -= _PORTION
