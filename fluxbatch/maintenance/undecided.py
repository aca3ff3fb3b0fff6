"""Creates that stay unknown, each with the executions it may be; and the user's word on them.

Owns what `reconcile` shows of them, and settling one by hand: which execution is a job's, which is
nobody's of ours. Source: docs/design/protocol.md 3.4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from fluxbatch.domain.adoption import BY_HAND
from fluxbatch.domain.job import PredictionId, PredictionState
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine.session import RunSession
from fluxbatch.errors import ApiError, ConfigError, NotFound
from fluxbatch.infra.redaction import strip_query
from fluxbatch.ledger.operations.transitions import Evidence
from fluxbatch.ledger.queries.recovery import LivePrediction, known_creates, live_predictions
from fluxbatch.maintenance.reports import Choice, Undecided
from fluxbatch.provider import Execution, Prediction

_LOST = (PredictionState.SUBMITTING, PredictionState.UNKNOWN)


class ByHand:
    """What the user says of executions that nobody else can place."""

    def __init__(
        self, chosen: Mapping[str, str] | None = None, not_ours: Collection[str] = ()
    ) -> None:
        self.chosen = dict(chosen or {})
        """Job (or how its id begins) to execution."""
        self.not_ours = frozenset(PredictionId(name) for name in not_ours)

    async def apply(self, session: RunSession) -> None:
        """Raise `ConfigError` where a word fits nothing; then nothing was changed by it."""
        session.resolver.not_ours |= self.not_ours
        lost = [one for one in await session.context.read(live_predictions) if one.state in _LOST]
        pairs = [(_meant(job, lost), PredictionId(name)) for job, name in self.chosen.items()]
        for one, name in pairs:
            await _check(session, one, name)
        for one, name in pairs:
            facts = Evidence(
                provider_id=name, adopted=BY_HAND, reason="the user says that it is it"
            )
            event = PredictionEvent.FOUND
            job, label = one.job.job_id, one.key_label
            await session.context.move(one.seq, event, facts, job=job, lane=label)


def _meant(job: str, lost: list[LivePrediction]) -> LivePrediction:
    found = [one for one in lost if one.job.job_id.hex().startswith(job.lower())]
    if len(found) != 1:
        many = f"{len(found)} jobs" if found else "no job"
        raise ConfigError(
            f"{job!r} names {many} whose create is unknown; `fluxbatch reconcile DIR` lists them"
        )
    return found[0]


async def _check(session: RunSession, one: LivePrediction, name: PredictionId) -> None:
    if await session.context.read(partial(known_creates, ids=[name])):
        raise ConfigError(f"execution {name!r} is another job's already")
    try:
        await _read(session, one.account, name)
    except NotFound:
        raise ConfigError(f"the provider knows no execution {name!r}") from None


async def _read(session: RunSession, account: str, name: PredictionId) -> Prediction:
    context = session.context
    names = sorted(context.clients, key=lambda key: context.accounts[key] != account)
    return await context.clients[names[0]].get(name)


async def undecided(session: RunSession) -> list[Undecided]:
    """Every create that is unknown now, the oldest first."""
    found = []
    for one in await session.context.read(live_predictions):
        if one.state in _LOST:
            rows = session.resolver.suspects.get(one.seq, ())
            choices = [await _choice(session, one.account, row) for row in rows]
            sent_at = one.intended.utc.isoformat()
            found.append(Undecided(one.job.job_id.hex(), sent_at, tuple(choices)))
    return found


async def _choice(session: RunSession, account: str, row: Execution) -> Choice:
    try:
        urls = (await _read(session, account, row.prediction_id)).urls
    except ApiError:
        urls = ()
    created = row.created_at.isoformat() if row.created_at is not None else ""
    image = strip_query(urls[0]) if urls else ""
    return Choice(row.prediction_id, created, row.word, row.cost, image or "")
