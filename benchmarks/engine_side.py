"""The engine on one manifest, telling its own CPU time, with decoding counted apart."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.engine.run import RunRequest, execute_run
from fluxbatch.events import Event, Events, OutputStored, RowsRead
from fluxbatch.infra.runtime import loop_options


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
    heard = _Heard()
    settings = load_settings(None, {"provider": {"base_url": base_url}})
    request = RunRequest(
        settings,
        [ApiKey(f"engine-{number}") for number in range(int(keys))],
        Folder(Path(folder) / "dataset"),
        Path(manifest),
        limit=int(limit) if limit else None,
    )
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    summary = anyio.run(lambda: execute_run(request, Events(heard)), backend_options=loop_options())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "exit": int(summary.exit_code),
        "seconds": round(time.monotonic() - began_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "verify_s": round(heard.verify_s, 3),
        "max_rss_mb": usage.ru_maxrss // 1024,
        "rows": heard.rows,
        "began_at_s": began_s,
        "imported_at_s": heard.imported_at_s,
        "import_cpu_s": heard.import_cpu_s - began_cpu_s,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
