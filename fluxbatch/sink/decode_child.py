"""The child process that decodes: one image after another, within its bounds.

Owns the bounds of memory and processor time as the system keeps them. Started by
`decode_process`; nothing imports it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from contextlib import suppress
from io import BytesIO
from typing import IO, Any

from PIL import AvifImagePlugin

from fluxbatch.sink.decode_process import CPU_S, TOO_LARGE
from fluxbatch.sink.verify import InvalidImage, TooMuch, decode, kind_of_mime


def serve_decoder(requests: IO[bytes], answers: IO[bytes]) -> None:
    """In the child: one image after another, until the pipe ends."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"])
        began_s = time.process_time()
        try:
            _bound(request.get("cpu_s", CPU_S))
            found = decode(
                kind_of_mime(request["mime"]), BytesIO(content), request["max_pixels"], bound_memory
            )
            told: dict[str, Any] = {
                "found": {
                    "size": [found.width, found.height],
                    "look": found.look,
                    "cpu_s": time.process_time() - began_s,
                }
            }
        except InvalidImage as exc:
            told = {"failure": str(exc), "is_final": isinstance(exc, TooMuch)}
        except MemoryError:
            told = {"failure": f"it {TOO_LARGE}", "is_final": True}
        _unbound()
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()


def bound_memory(most_bytes: int) -> None:
    """Let this process have so many bytes more than it has now."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + most_bytes, hard))


def _bound(cpu_s: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used_s = resource.getrusage(resource.RUSAGE_SELF)
    with suppress(OSError, ValueError):
        most_s = int(used_s.ru_utime + used_s.ru_stime) + 1 + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (most_s, hard))


def _unbound() -> None:
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_CPU):
        _, hard = resource.getrlimit(limit)
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (hard, hard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for who asked
    serve_decoder(sys.stdin.buffer, sys.stdout.buffer)
