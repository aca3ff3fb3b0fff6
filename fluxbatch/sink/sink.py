"""One output from its URL to a verified, durable file: fetch, verify, name, store.

Owns the order of these steps. One call is one try and says how it ended; how often to try, and
with which URL, is the caller's business. Only a disk that cannot be written raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

from fluxbatch.config.settings import SinkSettings
from fluxbatch.infra.encodings import inline_content
from fluxbatch.infra.runtime import Runtime
from fluxbatch.sink.aside import Aside
from fluxbatch.sink.batch import BatchWriter, Download, OutputRef, RejectedOutput, Stored
from fluxbatch.sink.download import Cut, DownloadFailed, Fetcher, Misled, UrlExpired
from fluxbatch.sink.store import ImageStore, check_stem


@dataclass(frozen=True, slots=True)
class OutputExpired:
    """The URL is no longer good: read the prediction again for a fresh one."""

    reason: str


class Sink:
    """Borrows its parts."""

    def __init__(
        self,
        store: ImageStore,
        fetcher: Fetcher,
        settings: SinkSettings,
        runtime: Runtime,
        aside: Aside | None = None,
    ) -> None:
        """*aside* None: what cannot be read is kept nowhere."""
        self._store = store
        self._fetcher = fetcher
        self._settings = settings
        self._aside = aside
        self._to_thread = runtime.to_thread
        self._writer = BatchWriter(store, runtime, settings)

    async def store(
        self, url: str, stem: str, asked: OutputRef | None = None, *, is_last: bool = False
    ) -> Stored | OutputExpired | RejectedOutput:
        """Download *url*, or take what it holds itself, to `images/<stem>.<what it is>`, replacing
        a file of that name.

        With *asked* the image tells how it was made, in a sidecar or its own file. What comes at
        the *is_last* try and is no image by any reading is kept aside, for `store_kept`.

        A file that a crash left there without its ledger entry is simply fetched again. Raises
        `SinkError` when the disk fails, `ValueError` for a stem that is no plain relative name.
        """
        check_stem(stem)
        arrival = Download(self._store, self._to_thread)
        try:
            if (content := inline_content(url)) is not None:
                await self._take_inline(arrival, content)
            else:
                await self._fetcher.fetch(url, arrival.take)
            stored = await self._writer.write(arrival, stem, asked)
            if isinstance(stored, RejectedOutput) and (
                is_last or stored.is_other_kind or stored.is_final
            ):
                return await self._put_aside(arrival, stem, stored)
            return stored
        except UrlExpired as exc:
            return OutputExpired(str(exc))
        except Misled as exc:
            return RejectedOutput(
                str(exc), sha256=sha256(url.partition("?")[0].encode()).hexdigest()
            )
        except Cut as exc:
            # A length that was told wrong is a server's mistake as well.
            stored = await self._writer.write(arrival, stem, asked)
            return stored if isinstance(stored, Stored) else RejectedOutput(str(exc))
        except DownloadFailed as exc:
            return RejectedOutput(str(exc))
        finally:
            await arrival.discard()

    async def store_kept(self, stem: str, asked: OutputRef | None = None) -> Stored | None:
        """The output from what was kept aside; None where that still is nothing, or no image."""
        aside = self._aside
        if aside is None:
            return None
        most = self._settings.max_bytes
        content = await self._to_thread(lambda: aside.content(stem, most))
        if content is None:
            return None
        arrival = Download(self._store, self._to_thread)
        try:
            await arrival.take(content)
            stored = await self._writer.write(arrival, stem, asked)
        finally:
            await arrival.discard()
        return stored if isinstance(stored, Stored) else None

    async def forget_kept(self, stem: str) -> None:
        """The output is stored and in the ledger."""
        if (aside := self._aside) is not None:
            await self._to_thread(lambda: aside.drop(stem))

    async def _take_inline(self, arrival: Download, content: bytes) -> None:
        if len(content) > self._settings.max_bytes:
            raise DownloadFailed(f"{len(content):,} bytes, more than sink.max_bytes allows")
        if content:
            await arrival.take(content)

    async def _put_aside(
        self, arrival: Download, stem: str, broken: RejectedOutput
    ) -> RejectedOutput:
        aside = self._aside
        if aside is None:
            return broken

        def keep() -> str | None:
            content = arrival.content()
            return str(aside.keep(stem, content)) if content else None

        place = await self._to_thread(keep)
        if place is None:
            return broken
        return replace(broken, reason=f"{broken.reason}; what came is kept in {place!r}")
