"""The keys of samples: names that are safe in every file system and unique in the export.

Owns the names. A sample's is its row's and the number of the image, `lamp-3_0`. The row's is the
user's id where that is plain, else what is plain of it and a hash; without an id, 16 digits of
the job's. A reroll's is its row's with `-r1`. There is never a dot: WebDataset ends a key at the
first. Case never makes the difference: half of all file systems ignore it.
Source: docs/design/decisions.md "Sample keys".
"""

from __future__ import annotations

import hashlib
import re

from fluxbatch.export.columns import SamplePage
from fluxbatch.infra.compact_set import CompactMap

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")
_KEPT_CHARS = 40
_NAMED_BY = ("row", "id", "job_id", "reroll", "reroll_of")


class SampleKeys:
    """Names the rows of one pass; the same rows in the same order get the same names.

    Two keys whose hashes collide (once in millions of exports) cost one of them a longer name.
    """

    def __init__(self) -> None:
        self._seen = CompactMap()

    def of(self, page: SamplePage) -> list[str]:
        """The key of each sample; to be asked for every row once, whether it is exported or
        not."""
        keys, key = [], ""
        named_by = zip(page.places, *(page.columns[name] for name in _NAMED_BY), strict=True)
        for place, row, user_id, job, reroll, reroll_of in named_by:
            if place == 0:
                base = _of_row(user_id, row, reroll_of or job)
                key = self._own_key(f"{base}-r{reroll}" if reroll else base, row)
            keys.append(f"{key}_{place}")
        return keys

    def _own_key(self, base: str, row: int) -> str:
        key, tries = base, 0
        while self._seen.setdefault(key.casefold()):
            # A repeat, a cell of a sweep, another case, or a row that names the same job.
            key = f"{base}-{row}" + (f"-{tries}" if tries else "")
            tries += 1
        return key


def _of_row(given: str | None, row: int, job: str | None) -> str:
    if given is None:
        return job[:16] if job else f"row-{row}"
    if _PLAIN.fullmatch(given):
        return given
    kept = _NOT_PLAIN.sub("-", given[: 4 * _KEPT_CHARS]).strip("-")[:_KEPT_CHARS].strip("-")
    digest = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{kept}-{digest}" if kept else digest
