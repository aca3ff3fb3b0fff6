"""The searches after a failover: for which accounts a dataset's lost creates were looked for.

Owns `fluxbatch.failover_searches`. A dataset searches for its own creates alone, so that another
one that has the account by now has not done it for both. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import postgres_statement
from fluxbatch.ledger.db.timestamps import parse_utc


class Unsearched(NamedTuple):
    """An account that this dataset has used, and whose lost creates nobody has searched for."""

    account: str
    latest: datetime | None
    """Of its latest create that the ledger knows."""


_UNSEARCHED = postgres_statement(
    """
    SELECT used.account, (
        SELECT intended_at FROM predictions AS made
        WHERE made.account = used.account ORDER BY made.seq DESC LIMIT 1
    )
    FROM fluxbatch.lane_datasets AS used
    LEFT JOIN fluxbatch.failover_searches AS searched
        ON searched.account = used.account AND searched.dataset = used.dataset
    WHERE used.dataset = current_schema() AND coalesce(searched.failover, 0) < :failover
    ORDER BY used.account
    """
)
_FIRST_RUN = postgres_statement("SELECT min(started_at) FROM runs")
_SEARCHED = postgres_statement(
    """
    INSERT INTO fluxbatch.failover_searches VALUES (:account, current_schema(), :failover)
    ON CONFLICT (account, dataset) DO UPDATE SET failover = excluded.failover
    """
)


def unsearched_accounts(db: Database, failover: int) -> Sequence[Unsearched]:
    """Those whose creates that failover may have lost, of all that this dataset has used."""
    return [
        Unsearched(account, None if at is None else parse_utc(at))
        for account, at in db.run(_UNSEARCHED, {"failover": failover})
    ]


def first_run_at(db: Database) -> datetime | None:
    """When this dataset was first run, as far as it is known."""
    ((at,),) = db.run(_FIRST_RUN)
    return None if at is None else parse_utc(at)


def was_searched(db: Database, account: str, failover: int) -> None:
    """What that failover had lost of the account's creates is known, for this dataset."""
    db.run(_SEARCHED, {"account": account, "failover": failover})
