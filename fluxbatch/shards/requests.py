"""Requests for work and their answers, as bytes that can go to another process.

Owns that an error arrives as it was raised, with the place where it was in its notes. Both ends are
this package's own: nothing that comes from elsewhere is unpacked here.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

_S = TypeVar("_S")


def request_for(work: Callable[[_S], Any], shard: _S) -> bytes:
    """*work*, a function of a module, to be done with *shard*."""
    return pickle.dumps((work, shard))


def answer_to(request: bytes) -> bytes:
    """What the work makes of its shard, a value or an error. Blocks."""
    try:
        work, shard = pickle.loads(request)
        return pickle.dumps((work(shard), None))
    except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to the one who asked
        return _failure(exc)


def result_of(answer: bytes) -> Any:
    """The value; raises the error, where it was one."""
    value, error = pickle.loads(answer)
    if error is not None:
        raise error
    return value


def _failure(exc: Exception) -> bytes:
    """An error as it was, if it can be sent."""
    where = traceback.format_exc()
    exc.add_note(where)
    nothing: Any = None
    try:
        answer = pickle.dumps((nothing, exc))
        pickle.loads(answer)
    except Exception:  # noqa: BLE001  # whatever its class makes of being pickled
        return pickle.dumps((nothing, RuntimeError(where)))
    return answer
