"""The engine on one manifest, telling its own CPU time, with decoding counted apart."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import anyio

from fluxbatch.config import load_settings
from fluxbatch.dataset import Folder
from fluxbatch.engine import RunRequest, run
from fluxbatch.events import Event, Events, OutputStored
from fluxbatch.keys import ApiKey
from fluxbatch.seams import loop_options


def main(manifest: str, folder: str, base_url: str) -> None:
    verify_s = 0.0

    def hear(event: Event) -> None:
        nonlocal verify_s
        if isinstance(event, OutputStored):
            verify_s += event.verify_s

    settings = load_settings(None, {"provider": {"base_url": base_url}})
    request = RunRequest(
        settings, [ApiKey("engine")], Folder(Path(folder) / "dataset"), Path(manifest)
    )
    began = time.monotonic()
    summary = anyio.run(lambda: run(request, Events(hear)), backend_options=loop_options())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "exit": int(summary.exit_code),
        "seconds": round(time.monotonic() - began, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "verify_s": round(verify_s, 3),
        "max_rss_mb": usage.ru_maxrss // 1024,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:4])
