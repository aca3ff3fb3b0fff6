"""The engine on one manifest, telling its own CPU time, split by what caused it."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.events import Event, Events, OutputStored, RowsRead
from fluxbatch.infra.garbage import collect_seldom
from fluxbatch.infra.runtime import in_thread, loop_options, real_runtime

_T = TypeVar("_T")
_CAUSES = {
    "fluxbatch.ledger": "ledger_s",
    "fluxbatch.scheduler": "lane_s",
    "fluxbatch.sink": "sink_s",
}
"""The packages whose calls block, and what their time is called; all others' is `other_s`."""


class _MeteredThreads:
    """The seam for blocking calls, with the CPU seconds of each, by its package."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((*_CAUSES.values(), "other_s"), 0.0)
        self.calls = 0

    async def __call__(self, call: Callable[[], _T], /) -> _T:
        self.calls += 1
        return await in_thread(partial(self._metered, call))

    def _metered(self, call: Callable[[], _T]) -> _T:
        began_s = time.thread_time()
        try:
            return call()
        finally:
            self.seconds[_cause_of(call)] += time.thread_time() - began_s


def _cause_of(call: Callable[[], object]) -> str:
    function = call.func if isinstance(call, partial) else call
    package = ".".join((function.__module__ or "").split(".")[:2])
    return _CAUSES.get(package, "other_s")


class _Heard:
    """What the events said, by this machine's one monotonic clock."""

    def __init__(self) -> None:
        self.verify_s = 0.0
        self.rows = 0
        self.imported_at_s = 0.0
        self.import_cpu_s = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, OutputStored):
            self.verify_s += event.verify_s
        elif isinstance(event, RowsRead):
            self.rows, self.imported_at_s = event.rows, time.monotonic()
            self.import_cpu_s = time.process_time()


def main(manifest: str, folder: str, base_url: str, limit: str = "", keys: str = "1") -> None:
    heard, threads = _Heard(), _MeteredThreads()
    settings = load_settings(None, {"provider": {"base_url": base_url}})
    request = RunRequest(
        settings,
        [ApiKey(f"engine-{number}") for number in range(int(keys))],
        Folder(Path(folder) / "dataset"),
        Path(manifest),
        limit=int(limit) if limit else None,
    )
    runtime = real_runtime()._replace(to_thread=threads)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    run = partial(execute_run, request, Events(heard), runtime=runtime)
    collect_seldom()
    summary = anyio.run(run, backend_options=loop_options())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "exit": int(summary.exit_code),
        "seconds": round(time.monotonic() - began_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "start_cpu_s": round(began_cpu_s, 3),
        "verify_s": round(heard.verify_s, 3),
        **{name: round(seconds, 3) for name, seconds in threads.seconds.items()},
        "thread_calls": threads.calls,
        "max_rss_mb": usage.ru_maxrss // 1024,
        "rows": heard.rows,
        "began_at_s": began_s,
        "imported_at_s": heard.imported_at_s,
        "import_cpu_s": heard.import_cpu_s - began_cpu_s,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
