"""One output from its URL to a verified, durable file: fetch, verify, name, store.

Owns the order of these steps. One call is one try and says how it ended; how often to try, and
with which URL, is the caller's business. Only a disk that cannot be written raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from fluxbatch.config.settings import SinkSettings
from fluxbatch.infra.runtime import Runtime
from fluxbatch.sink.batch import BatchWriter, Download, OutputRef, RejectedOutput, Stored
from fluxbatch.sink.download import DownloadFailed, Fetcher, UrlExpired
from fluxbatch.sink.store import ImageStore, check_stem


@dataclass(frozen=True, slots=True)
class OutputExpired:
    """The URL is no longer good: read the prediction again for a fresh one."""

    reason: str


class Sink:
    """Borrows its parts."""

    def __init__(
        self, store: ImageStore, fetcher: Fetcher, settings: SinkSettings, runtime: Runtime
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._to_thread = runtime.to_thread
        self._writer = BatchWriter(store, runtime, settings)

    async def store(
        self, url: str, stem: str, asked: OutputRef | None = None
    ) -> Stored | OutputExpired | RejectedOutput:
        """Download *url* to `images/<stem>.<what it is>`, replacing a file of that name.

        With *asked* the image carries its metadata, in a sidecar or its own file.

        A file that a crash left there without its ledger entry is simply fetched again. Raises
        `SinkError` when the disk fails, `ValueError` for a stem that is no plain relative name.
        """
        check_stem(stem)
        arrival = Download(self._store, self._to_thread)
        try:
            await self._fetcher.fetch(url, arrival.take)
            return await self._writer.write(arrival, stem, asked)
        except UrlExpired as exc:
            return OutputExpired(str(exc))
        except DownloadFailed as exc:
            return RejectedOutput(str(exc))
        finally:
            await arrival.discard()
