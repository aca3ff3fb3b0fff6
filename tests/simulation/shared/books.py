"""The rules of a shared ledger, asked after every commit to it.

Owns what is added to the rules of any ledger: who wrote an intent held its lane, by a lease that
had not run out; no create leaves long after its intent, by the true time; a limit of creates
holds for all processes together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.postgres import PostgresDatabase
from fluxbatch.ledger.db.sql import Statement
from tests.simulation.checks import Auditor, Violation
from tests.simulation.provider import Order
from tests.simulation.shared.process import Process

_SEND_WITHIN_S = 5.0


def _sql(words: str) -> Statement:
    return Statement(lambda _: text(words))


_INTENDED = _sql(
    "SELECT p.seq, p.job_seq, p.account, l.holder, l.expires_at > clock_timestamp()"
    " FROM predictions p LEFT JOIN fluxbatch.lanes l ON l.account = p.account"
    " WHERE p.seq > :seen ORDER BY p.seq"
)
_SUBMITTING = _sql("SELECT seq, job_seq FROM predictions WHERE state = 'submitting'")
_ABOVE_LIMIT = _sql(
    "SELECT g.run_seq, g.most_creates, count(*) FROM run_gates g JOIN predictions p"
    " ON p.run_seq = g.run_seq AND p.state NOT IN ('unsent', 'refused')"
    " WHERE g.most_creates IS NOT NULL GROUP BY 1, 2 HAVING count(*) > g.most_creates"
)


class SharedAuditor(Auditor):
    """Looks at one dataset of the database."""

    def __init__(
        self, db: PostgresDatabase, images: Path, now_s: Callable[[], float], *,
        derived_seeds: bool, unseen_s: float,
    ) -> None:  # fmt: skip
        """*unseen_s*: by so much the server's clock is set without anybody's taking notice."""
        super().__init__(images, derived_seeds=derived_seeds, db=db)
        self._send_within_s = _SEND_WITHIN_S + unseen_s + 1e-3
        self._database = db
        self._now_s = now_s
        self._latest_intent = 0
        self._intended_at: dict[int, float] = {}
        """By the prediction's number: the true time of the intent's commit."""

    def after_commit(self, process: Process) -> None:
        self._database.at_one_moment(lambda _: self._check_commit(process))

    def _check_commit(self, process: Process) -> None:
        intended = self._db.run(_INTENDED, {"seen": self._latest_intent})
        for seq, job, account, holder, is_held in intended:
            self._latest_intent = seq
            self._intended_at[seq] = self._now_s()
            if holder not in process.workers or not is_held:
                raise Violation(
                    f"{process.name} wrote an intent of job {job} on {account}, which"
                    f" {'is' if is_held else 'was'} held by {holder}"
                )
        if above := self._db.run(_ABOVE_LIMIT):
            raise Violation(f"more creates than the run's limit: {above}")
        self.check()

    def may_leave(self, order: Order, now: Timestamp) -> bool:
        orders = self.orders()
        since_s = self._now_s() - self._send_within_s
        return any(
            orders[job] == order and self._intended_at.get(seq, -1e9) >= since_s
            for seq, job in self._db.run(_SUBMITTING)
        )
