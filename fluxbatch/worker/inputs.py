"""A job's input as it leaves, and whether what comes back is the same.

Source: docs/design/protocol.md 1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxbatch.domain.job import Input, as_sent, derived_seed, given_seed
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.models.card import ModelCard
from fluxbatch.worker.context import WorkerContext


def sent_input(context: WorkerContext, job: QueuedJob, control_url: str | None) -> Input:
    """The input as it leaves: the control image's URL and the seed filled in, nothing else."""
    seed = sent_seed(context, job)
    return as_sent(job.input, context.card_of(job.model).file_inputs, control_url, seed)


def sent_seed(context: WorkerContext, job: QueuedJob) -> int | None:
    """The seed as it leaves; None where the provider is to choose."""
    if "seed" in job.input:
        return given_seed(job.input)
    card = context.card_of(job.model)
    derives = context.settings.inputs.seed == "derived" and card.takes_derived_seed
    return derived_seed(job.job_id, job.reseed) if derives else None


def is_same_input(sent: Input, told: Mapping[str, object] | None, card: ModelCard) -> bool:
    """Whether *told*, as the provider gives it back, is what was *sent*.

    A provider may fill in its defaults; anything else that was not sent makes it another's.
    """
    if told is None:
        return False
    if any(name not in told or not _equal(told[name], value) for name, value in sent.items()):
        return False
    for name in told.keys() - sent.keys():
        field_ = card.inputs.get(name)
        is_default = field_ is not None and _equal(told[name], field_.default)
        if told[name] is not None and not is_default and name != "seed":
            return False
    return True


def _equal(left: object, right: object) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right
