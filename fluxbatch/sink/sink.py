"""One output from its URL to a verified, durable file: fetch, verify, name, store.

Owns the order of these steps. One call is one try and says how it ended; how often to try, and
with which URL, is the caller's business. Only a disk that cannot be written raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from fluxbatch.config.settings import Sink as SinkSettings
from fluxbatch.infra.runtime import Seams
from fluxbatch.sink.batch import Arrival, Asked, Broken, Stored, Stower
from fluxbatch.sink.download import Fetcher, Gone, Unfetched
from fluxbatch.sink.store import ImageStore, check_stem


@dataclass(frozen=True, slots=True)
class Expired:
    """The URL is no longer good: read the prediction again for a fresh one."""

    reason: str


class Sink:
    """Borrows its parts."""

    def __init__(
        self, store: ImageStore, fetcher: Fetcher, settings: SinkSettings, seams: Seams
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._blocking = seams.blocking
        self._stower = Stower(store, seams, settings)

    async def store(
        self, url: str, stem: str, asked: Asked | None = None
    ) -> Stored | Expired | Broken:
        """Download *url* to `images/<stem>.<what it is>`, replacing a file of that name.

        With *asked* the image tells how it was made, in a sidecar or its own file.

        A file that a crash left there without its ledger entry is simply fetched again. Raises
        `SinkError` when the disk fails, `ValueError` for a stem that is no plain relative name.
        """
        check_stem(stem)
        arrival = Arrival(self._store, self._blocking)
        try:
            await self._fetcher.fetch(url, arrival.take)
            return await self._stower.stow(arrival, stem, asked)
        except Gone as exc:
            return Expired(str(exc))
        except Unfetched as exc:
            return Broken(str(exc))
        finally:
            await arrival.leave()
