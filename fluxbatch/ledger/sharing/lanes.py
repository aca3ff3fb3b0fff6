"""The leases of lanes: which process creates on an account, across all datasets of a database.

Owns `fluxbatch.lanes`. A lease lasts ten seconds and is renewed every three; each new holder has
a higher epoch, and no intent is written without a lease that is held. Between machines the
database's clock alone counts. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import text

from fluxbatch.domain.job import LIVE, PredictionState
from fluxbatch.errors import ExitCode
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres_rights import identifier
from fluxbatch.ledger.db.rows import KeyedQuery, Rows
from fluxbatch.ledger.db.sql import Statement, postgres_statement
from fluxbatch.ledger.db.timestamps import parse_utc
from fluxbatch.ledger.sharing.account_datasets import readable_datasets
from fluxbatch.ledger.sharing.run_controls import RunControls, controls_from
from fluxbatch.ledger.sharing.server_clock import TIMELINE

LEASE_S = 10
"""How long a lane stays its holder's without being renewed."""


class Lease(NamedTuple):
    """A lane in one process's hands."""

    holder: str
    epoch: int


class LaneLost(NamedTuple):
    """Nothing was written: another process holds the lane by now, or may."""


class RunStopped(NamedTuple):
    """Nothing was written: the run buys nothing more, whoever asks."""

    code: ExitCode
    reason: str


class HeldLane(NamedTuple):
    """An account's lane as the database has it."""

    account: str
    holder: str | None
    dataset: str | None
    is_expired: bool


_NAME = postgres_statement(
    "INSERT INTO fluxbatch.lanes (account) SELECT json_array_elements_text(CAST(:accounts AS json))"
    " ON CONFLICT DO NOTHING"
)
_TAKE = postgres_statement(
    f"""
    WITH free AS (
        SELECT account FROM fluxbatch.lanes
        WHERE account IN (SELECT json_array_elements_text(CAST(:accounts AS json)))
            AND (holder IS NULL OR expires_at < clock_timestamp())
        ORDER BY account LIMIT :most FOR UPDATE SKIP LOCKED
    ), used AS (
        INSERT INTO fluxbatch.lane_datasets SELECT account, current_schema() FROM free
        ON CONFLICT DO NOTHING
    )
    UPDATE fluxbatch.lanes AS lane
    SET holder = :worker, dataset = current_schema(), epoch = epoch + 1,
        expires_at = clock_timestamp() + interval '{LEASE_S} s'
    FROM free WHERE lane.account = free.account
    RETURNING lane.account, lane.epoch
    """
)
_RENEW = postgres_statement(
    f"""
    UPDATE fluxbatch.lanes SET expires_at = clock_timestamp() + interval '{LEASE_S} s'
    WHERE holder = :worker RETURNING account
    """
)
_SHORTEN = postgres_statement(
    f"""
    UPDATE fluxbatch.lanes SET expires_at = clock_timestamp() + interval '{LEASE_S} s'
    WHERE expires_at > clock_timestamp() + interval '{LEASE_S} s'
    """
)
_KEEP = postgres_statement(
    """
    SELECT 1 FROM fluxbatch.lanes
    WHERE account = :account AND holder = :worker AND expires_at > clock_timestamp()
    FOR KEY SHARE
    """
)
_GIVE_BACK = postgres_statement(
    """
    UPDATE fluxbatch.lanes SET holder = NULL, expires_at = NULL
    WHERE holder = :worker AND account IN (SELECT json_array_elements_text(CAST(:accounts AS json)))
    """
)
_OF_ACCOUNTS = postgres_statement(
    """
    SELECT account, holder, dataset, coalesce(expires_at < clock_timestamp(), true)
    FROM fluxbatch.lanes WHERE account IN (SELECT json_array_elements_text(CAST(:accounts AS json)))
    ORDER BY account
    """
)
_GATE = KeyedQuery(
    lambda _: text(
        f"""
        WITH asked AS MATERIALIZED (
            SELECT one ->> 0 AS account, one ->> 1 AS worker, CAST(one ->> 2 AS bigint) AS epoch,
                CAST(one ->> 3 AS bigint) AS run_seq
            FROM json_array_elements(CAST(:keys AS json)) AS one
        ), lane AS MATERIALIZED (
            SELECT lane.account, lane.holder, lane.epoch
            FROM fluxbatch.lanes AS lane JOIN asked ON lane.account = asked.account
                AND lane.holder = asked.worker AND lane.epoch = asked.epoch
            WHERE lane.expires_at > clock_timestamp()
                AND (SELECT timeline FROM fluxbatch.clock) = {TIMELINE}
            ORDER BY lane.account FOR KEY SHARE OF lane
        )
        SELECT asked.account, asked.worker, asked.epoch, run_seq, lane.account IS NOT NULL,
            stop_code, stop_reason, most_creates, control_number, controls,
            CASE WHEN most_creates IS NOT NULL THEN (
                SELECT count(*) FROM predictions AS made
                WHERE made.run_seq = asked.run_seq AND made.state NOT IN ('unsent', 'refused')
            ) END
        FROM asked JOIN run_gates USING (run_seq) LEFT JOIN lane
            ON lane.account = asked.account AND lane.holder = asked.worker
            AND lane.epoch = asked.epoch
        """
    ),
    width=4,
)
LIMIT_REACHED = "the limit of creates for this run is reached"


def take_lanes(db: Database, worker: str, accounts: Collection[str], most: int) -> dict[str, int]:
    """Take up to *most* lanes that nobody holds; answers their epochs by account."""
    if not accounts or most < 1:
        return {}
    named = _json(accounts)
    db.run(_NAME, {"accounts": named})
    return dict(db.run(_TAKE, {"accounts": named, "most": most, "worker": worker}))


def renew_lanes(db: Database, worker: str) -> frozenset[str]:
    """Keep what is held for another lease; what is not in the answer is lost."""
    return frozenset(account for (account,) in db.run(_RENEW, {"worker": worker}))


def shorten_leases(db: Database) -> None:
    """None lasts longer than a lease from now: the server's clock may have been set back."""
    db.run(_SHORTEN)


def keep_lane(db: Database, worker: str, account: str) -> bool:
    """Whether the lane is this worker's, and so until the transaction at work ends."""
    return bool(db.run(_KEEP, {"worker": worker, "account": account}))


def give_back_lanes(db: Database, worker: str, accounts: Collection[str]) -> None:
    """Anybody may take them from now on."""
    db.run(_GIVE_BACK, {"worker": worker, "accounts": _json(accounts)})


def lanes_of(db: Database, accounts: Collection[str]) -> list[HeldLane]:
    """Who holds the lanes of *accounts*, if anybody ever did."""
    rows = db.run(_OF_ACCOUNTS, {"accounts": _json(accounts)})
    return [HeldLane(account, holder, dataset, bool(old)) for account, holder, dataset, old in rows]


def expect_gate(rows: Rows, account: str, lease: Lease, run_seq: int) -> None:
    """`refusal_of_intent` is going to be asked for."""
    rows.expect(_GATE, (account, *lease, run_seq))


def refusal_of_intent(
    db: Database, account: str, lease: Lease, run_seq: int, *, unwritten: int
) -> LaneLost | RunStopped | RunControls | None:
    """Why no intent may be written on this lane now; None where one may.

    Within the intent's own transaction: the lane stays its holder's until that ends. *unwritten*
    intents of the same transaction are counted as made.
    """
    gate = (account, *lease, run_seq)
    ((*_, is_held, code, reason, most, number, asked, made),) = db.rows.of(_GATE, gate)
    if not is_held:
        return LaneLost()
    if code is not None:
        return RunStopped(ExitCode(code), reason or "")
    if most is not None and made + unwritten >= most:
        db.rows.settle()  # one that was counted may have been refused since
        ((*_, made),) = db.rows.of(_GATE, gate)
    if most is not None and made >= most:
        return RunStopped(ExitCode.STOPPED, LIMIT_REACHED)
    controls = controls_from(number, asked)
    return controls if controls.forbids(account) else None


def _json(names: Collection[str]) -> str:
    return json.dumps(sorted(names))


class AccountCreate(NamedTuple):
    """A create of another dataset of the database."""

    dataset: str
    prediction: int
    provider_id: str | None
    is_live: bool
    is_counted: bool
    at: Timestamp
    """When it was answered, else when it was intended."""


_LATEST = 4_000
"""Creates of an account: more than any window has."""


def creates_of_other_datasets(db: Database, accounts: Collection[str]) -> list[AccountCreate]:
    """The latest creates that other datasets of the database made with *accounts*; raises
    `ConfigError` for one that may not be read."""
    found = list[AccountCreate]()
    for dataset in readable_datasets(db, accounts):
        for account in accounts:
            rows = db.run(_creates_in(dataset), {"account": account, "most": _LATEST})
            found += [_account_create(dataset, row) for row in rows]
    return found


@cache
def _creates_in(dataset: str) -> Statement:
    schema = identifier(dataset).replace(":", r"\:")
    return postgres_statement(
        f"""
        SELECT seq, provider_id, state, boot_id, intended_at, intended_boot_us, answered_at,
            answered_boot_us
        FROM {schema}.predictions WHERE account = :account ORDER BY seq DESC LIMIT :most
        """
    )


def _account_create(dataset: str, row: Sequence[Any]) -> AccountCreate:
    seq, provider_id, state, boot_id, at, at_us, answered, answered_us = row
    if answered is not None and answered_us is not None:
        at, at_us = answered, answered_us
    moment = Timestamp(parse_utc(at), boot_id, at_us / 1_000_000)
    is_live = PredictionState(state) in LIVE
    is_counted = state != PredictionState.UNSENT
    return AccountCreate(dataset, seq, provider_id, is_live, is_counted, moment)
