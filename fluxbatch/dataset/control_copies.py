"""The copies of local control images in the image store, for machines that lack the files.

Owns which of them are made: one of each content, by whoever imports the manifest, before any of
its jobs can be taken. A copy is what the manifest named, byte for byte, or it is not made.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fluxbatch.domain.job import ControlFile
from fluxbatch.errors import ConfigError, RejectedRequest
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.local_controls import needed_controls
from fluxbatch.provider.upload import read_control
from fluxbatch.sink import ImageStore

_AT_ONCE = 4
"""Each is in memory as a whole."""


class ControlCopies:
    """Those of one dataset in PostgreSQL."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    def make(self, db: Database, manifest_seq: int) -> int:
        """Keep what pending jobs of the manifest need and the store lacks; how many. Blocks.

        Raises `ConfigError` where a file is no more what the manifest was read with, `SinkError`.
        """
        return self._made(db, manifest_seq, is_missing_fine=False)

    def make_up(self, db: Database, manifest_seq: int) -> int:
        """The same for a manifest that was read before, here or on another machine: what this
        machine does not see is left out. Blocks."""
        return self._made(db, manifest_seq, is_missing_fine=True)

    def _made(self, db: Database, manifest_seq: int, *, is_missing_fine: bool) -> int:
        kept: set[str] | None = None
        made = 0
        with ThreadPoolExecutor(_AT_ONCE, "controls") as pool:
            for page in needed_controls(db, manifest_seq):
                if kept is None:  # most manifests need none, and then the store is not asked
                    kept = self._images.kept_controls()
                new = {one.sha256: one for one in page if one.sha256 not in kept}
                kept.update(new)
                keep = self._keep_if_there if is_missing_fine else self._keep
                made += sum(pool.map(keep, new.values()))
        return made

    def _keep(self, control: ControlFile) -> bool:
        try:
            content, mime = read_control(control)
        except RejectedRequest as exc:
            raise ConfigError(f"{exc}; nothing was spent") from None
        self._images.keep_control(control.sha256, content, mime)
        return True

    def _keep_if_there(self, control: ControlFile) -> bool:
        try:
            return self._keep(control)
        except ConfigError:  # its job fails, and says why, unless another machine has it
            return False
