"""The check that control images given by URL can be read, by asking their servers.

Owns that check and nothing else: the provider fetches them itself, so a URL that works from
here may still not work from there, and the other way round. Only `plan --check-urls` asks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import anyio

from fluxbatch.config.settings import Settings
from fluxbatch.infra.image_type import MAX_FETCHED_BYTES
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import in_thread
from fluxbatch.sink import DownloadFailed, Fetcher, UrlExpired, open_fetcher
from fluxbatch.sink.verify import InvalidImage, verify

_AT_ONCE = 8
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """One URL and what is wrong with it; empty where it is an image that the model takes."""

    url: str
    problem: str


async def check_urls(
    urls: Iterable[str], settings: Settings, tell: Callable[[CheckedUrl], None]
) -> None:
    """Fetch and decode each, some at a time; *tell* is called with each as it ends."""
    local = is_loopback(settings.provider.base_url)
    limits = settings.sink.model_copy(
        update={"max_bytes": MAX_FETCHED_BYTES, "timeout": _TIMEOUT_S, "downloads": _AT_ONCE}
    )
    left = iter(urls)

    async def worker(fetcher: Fetcher) -> None:
        for url in left:
            tell(CheckedUrl(url, await _problem(fetcher, url, limits.max_pixels)))

    async with open_fetcher(limits, allow_http=local) as fetcher, anyio.create_task_group() as work:
        for _ in range(_AT_ONCE):
            work.start_soon(worker, fetcher)


async def _problem(fetcher: Fetcher, url: str, max_pixels: int) -> str:
    content = io.BytesIO()

    async def take(block: bytes) -> None:
        content.write(block)

    try:
        await fetcher.fetch(url, take)
        content.seek(0)
        await in_thread(lambda: verify(content, max_pixels=max_pixels))
    except (UrlExpired, DownloadFailed, InvalidImage) as exc:
        return str(exc)
    return ""
