"""The splits that a manifest's rows name, and those among them that no export can have.

Owns what a split may be called. Told before anything is bought: an image whose split has no name
is found out about only when it is exported, and then it is paid.
"""

from __future__ import annotations

import re

from fluxbatch.domain.job import Row

SPLIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
SPLIT_ALLOWED = "letters, digits and _, beginning with a letter"
_KEPT = 5


class UnfitSplits:
    """Notes the first rows whose `split` is no name for one."""

    def __init__(self) -> None:
        self._found: dict[str, Row] = {}

    def note(self, row: Row) -> None:
        if not row.meta or row.job is None or (given := row.meta.get("split")) in (None, ""):
            return
        name = str(given)
        if not SPLIT_NAME.fullmatch(name) and name not in self._found and len(self._found) < _KEPT:
            self._found[name] = row

    def lines(self) -> tuple[str, ...]:
        """A sentence for each such name."""
        return tuple(
            f"split {name[:80]!r} ({_where(row)}) is no name that `export` can use"
            f" ({SPLIT_ALLOWED}); rename it, or export with --split NAME=SHARE"
            for name, row in self._found.items()
        )


def _where(row: Row) -> str:
    return f"line {row.line}" if row.line else f"row {row.number}"
