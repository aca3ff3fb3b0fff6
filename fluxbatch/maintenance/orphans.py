"""Orphans in an audit: executions that were paid and are in no ledger, named or taken in.

Owns what the report says of them. Whose input is no job's of this dataset is a stranger, and only
counted. Source: docs/design/protocol.md 2.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.engine.session import RunSession
from fluxbatch.ledger.operations.budgets import read_lines
from fluxbatch.maintenance.reports import Orphan, ReconcileReport
from fluxbatch.provider import Execution
from fluxbatch.worker.orphans import OrphanMatch, OrphanSearch, created_text


class Orphans:
    """The unborne executions of one audit."""

    def __init__(self, session: RunSession, report: ReconcileReport) -> None:
        self._context = session.context
        self._report = report
        self._search = OrphanSearch(session.context, session.keys)

    async def run(
        self, unborne: Mapping[PredictionId, tuple[Execution, str]], *, adopt: bool
    ) -> None:
        """Name the orphans, and take them in where that was asked for."""
        matches = await self._search.find(unborne)
        self._report.unread += self._search.unread
        self._report.strangers += len(unborne) - len(matches)
        for match in matches:
            adopted = adopt and await self._search.adopt(match)
            self._report.orphans.append(_orphan(match, was_adopted=adopted))
        if any(orphan.was_adopted for orphan in self._report.orphans):
            await self._say_if_over_a_cap()

    async def _say_if_over_a_cap(self) -> None:
        """What was spent already is recorded above a cap too."""
        context = self._context
        query = partial(read_lines, run_id=context.run.run_id, day=context.budget_day())
        for line in await context.read(query):
            if line.cap is not None and line.committed > line.cap:
                words = f"${as_usd(line.committed)} of ${as_usd(line.cap)}"
                context.notice_once(
                    f"with what was adopted the budget per {line.scope} is at {words}"
                )


def _orphan(match: OrphanMatch, *, was_adopted: bool) -> Orphan:
    row = match.paid.row
    return Orphan(
        row.prediction_id,
        match.job.job_id.hex(),
        Micros(row.cost or 0),
        created_text(row),
        was_adopted,
    )
