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

from fluxbatch.export.columns import ExportRecord, SamplePage
from fluxbatch.infra.compact_set import CompactMap

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")
_KEPT_CHARS = 40
_NAMED_BY = ("id", "row", "job_id", "reroll", "reroll_of")


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
        for place, record in zip(page.places, page.records(_NAMED_BY), strict=True):
            if place == 0:
                key = self._row_key(record)
            keys.append(f"{key}_{place}")
        return keys

    def _row_key(self, record: ExportRecord) -> str:
        base = _base(record)
        key, tries = base, 0
        while self._seen.setdefault(key.casefold()):
            # A repeat, a cell of a sweep, another case, or a row that names the same job.
            key = f"{base}-{record['row']}" + (f"-{tries}" if tries else "")
            tries += 1
        return key


def _base(record: ExportRecord) -> str:
    return f"{_of_row(record)}-r{record['reroll']}" if record["reroll"] else _of_row(record)


def _of_row(record: ExportRecord) -> str:
    given, job = record["id"], record["reroll_of"] or record["job_id"]
    if given is None:
        return str(job[:16]) if job else f"row-{record['row']}"
    if _PLAIN.fullmatch(given):
        return str(given)
    kept = _NOT_PLAIN.sub("-", given[: 4 * _KEPT_CHARS]).strip("-")[:_KEPT_CHARS].strip("-")
    digest = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{kept}-{digest}" if kept else digest
