"""A good script without an engine: gather, a semaphore, a limiter, a poll every 2 s.

The yardstick of every benchmark. It downloads and decodes what it made, in threads as the engine
does, and keeps no ledger and no file.
"""

from __future__ import annotations

import asyncio
import io
import json
import resource
import sys
import time
from typing import Any

import aiohttp
from aiolimiter import AsyncLimiter
from PIL import Image


class Tally:
    """What the script noticed of itself."""

    def __init__(self) -> None:
        self.done = 0
        self.refused = 0
        self.failed = 0


def _decode(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.load()


async def main(
    base_url: str, jobs: int, slots: int, creates: int, poll_s: float, kind: str = "jpg"
) -> Tally:
    tally = Tally()
    semaphore, limiter = asyncio.Semaphore(slots), AsyncLimiter(creates, 60)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"X-API-Key": "plain"}
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def one(number: int) -> None:
            body = {
                "model": "flux-depth-dev",
                "input": {
                    "prompt": f"plain {number}",
                    "control_image": "https://photos.invalid/a.jpg",
                    "output_format": kind,
                    "seed": number,
                },
            }
            async with semaphore:
                async with limiter:
                    prediction = await _create(session, base_url, body, tally)
                urls = await _wait(session, f"{base_url}/prediction/{prediction}", poll_s)
            for url in urls:
                async with session.get(url) as response:
                    content = await response.read()
                await asyncio.to_thread(_decode, content)
            tally.done += 1

        await asyncio.gather(*(one(number) for number in range(jobs)))
    return tally


async def _create(
    session: aiohttp.ClientSession, base_url: str, body: dict[str, Any], tally: Tally
) -> str:
    while True:
        async with session.post(f"{base_url}/prediction/", json=body) as response:
            if response.status == 429:
                tally.refused += 1
                await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
                continue
            response.raise_for_status()
            return str((await response.json())["predictionID"])


async def _wait(session: aiohttp.ClientSession, url: str, poll_s: float) -> list[str]:
    while True:
        await asyncio.sleep(poll_s)
        async with session.get(url) as response:
            told = await response.json()
        if told["status"] in {"success", "error"}:
            output = told.get("output") or []
            return [output] if isinstance(output, str) else list(output)


if __name__ == "__main__":
    began, start_cpu_s = time.monotonic(), time.process_time()
    url, jobs, slots, creates, poll_s, *kinds = sys.argv[1:]
    told = asyncio.run(main(url, int(jobs), int(slots), int(creates), float(poll_s), *kinds))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "done": told.done,
                "refused": told.refused,
                "seconds": round(time.monotonic() - began, 2),
                "start_cpu_s": round(start_cpu_s, 3),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            }
        )
    )
