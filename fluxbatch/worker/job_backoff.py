"""The backoff of a job between its attempts. Source: docs/design/protocol.md 6."""

from __future__ import annotations

from fluxbatch.ledger.operations.transitions import TransitionResult
from fluxbatch.worker.context import WorkerContext

_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 60.0


def backoff_s(context: WorkerContext, moved: TransitionResult) -> float:
    """How long a job waits for its next try; one that lost no attempt waits for its lane alone."""
    if moved.failure is None:
        return 0.0
    longest = min(_BACKOFF_S * 2 ** (moved.attempts - 1), _LONGEST_BACKOFF_S)
    return context.jittered(longest)
