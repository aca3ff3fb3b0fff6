"""The child process that works on shards: one after another, until its pipe ends.

Owns that it never outlives who began it: the end of the pipe ends it in the middle of its work.
Started by `processes`; nothing imports it.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
from typing import IO

from fluxbatch.infra.garbage import collect_seldom
from fluxbatch.shards.processes import read_frame, write_frame
from fluxbatch.shards.requests import answer_to


def serve_shards(requests: IO[bytes], answers: IO[bytes]) -> None:
    """In the child: answer each request, for ever."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    sys.path[:] = pickle.loads(waiting.get())
    while True:
        write_frame(answers, answer_to(waiting.get()))


def _listen(requests: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    while (request := read_frame(requests)) is not None:
        waiting.put(request)
    os._exit(0)  # in the middle of whatever the other thread does: nobody wants it any more


if __name__ == "__main__":
    # What the work prints is no answer.
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    collect_seldom()
    serve_shards(sys.stdin.buffer, private)
