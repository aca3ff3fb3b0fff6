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
import traceback
from typing import IO, Any

from fluxbatch.infra.runtime import process_of_its_own
from fluxbatch.shards.processes import read_frame, write_frame


def serve_shards(requests: IO[bytes], answers: IO[bytes]) -> None:
    """In the child: answer each request, for ever."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    sys.path[:] = pickle.loads(waiting.get())
    while True:
        write_frame(answers, _answer(waiting.get()))


def _listen(requests: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    while (request := read_frame(requests)) is not None:
        waiting.put(request)
    os._exit(0)  # in the middle of whatever the other thread does: nobody wants it any more


def _answer(request: bytes) -> bytes:
    try:
        work, shard = pickle.loads(request)
        return pickle.dumps((work(shard), None))
    except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to the one who asked
        return _failure(exc)


def _failure(exc: Exception) -> bytes:
    """An error as it was, if it can be sent; where it was raised is in its notes."""
    where = traceback.format_exc()
    exc.add_note(where)
    nothing: Any = None
    try:
        answer = pickle.dumps((nothing, exc))
        pickle.loads(answer)
    except Exception:  # noqa: BLE001  # whatever its class makes of being pickled
        return pickle.dumps((nothing, RuntimeError(where)))
    return answer


if __name__ == "__main__":
    # What the work prints is no answer.
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with process_of_its_own():
        serve_shards(sys.stdin.buffer, private)
