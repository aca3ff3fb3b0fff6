"""The processes at work on a shared ledger, and the jobs each of them has claimed.

Owns `workers` and `claims`. A worker's id is new for each process; who is not seen for fifteen
seconds is buried, and its claims go in the same statement. A claim saves workers from racing for
the same jobs and decides nothing: an intent does. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from random import Random
from typing import Literal, NamedTuple

from fluxbatch._version import __version__
from fluxbatch.errors import DatabaseFailed, FluxbatchError, HeldElsewhere
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import postgres_statement
from fluxbatch.ledger.queries.queue import QueuedJob, queued_job
from fluxbatch.ledger.sharing.account_datasets import readable_datasets
from fluxbatch.ledger.sharing.side_connection import SideConnection
from fluxbatch.ledger.sharing.tables import BURIED_AFTER_S

Role = Literal["run", "maintenance"]

BEAT_S = 3.0


class WorkerGone(DatabaseFailed):
    """The others took this process for dead; what it held is theirs."""


class Worker(NamedTuple):
    """A process at work."""

    worker: str
    role: Role
    host: str
    pid: int
    version: str
    run_seq: int | None
    accounts: frozenset[str]
    """Those that it has a key of which the provider does not refuse."""
    waits: str | None
    """Why it has nothing to do, or an empty text; None where it is busy."""
    seen_s: float
    """Seconds since it was seen, by the database's clock."""

    @property
    def is_silent(self) -> bool:
        """It has not been seen for long enough to be buried."""
        return self.seen_s > BURIED_AFTER_S


_JOIN = postgres_statement(
    """
    INSERT INTO workers (id, role, host, pid, version, accounts)
    VALUES (:worker, :role, :host, :pid, :version, :accounts)
    """
)
_WORK_ON = postgres_statement("UPDATE workers SET run_seq = :run_seq WHERE id = :worker")
_SEEN = postgres_statement(
    "UPDATE workers SET seen_at = clock_timestamp(), waits = :waits WHERE id = :worker RETURNING id"
)
_KEYS = postgres_statement("UPDATE workers SET accounts = :accounts WHERE id = :worker")
_DATE_NO_LATER = postgres_statement(
    "UPDATE workers SET seen_at = clock_timestamp() WHERE seen_at > clock_timestamp()"
)
_BURY = postgres_statement(
    f"""
    DELETE FROM workers
    WHERE id <> :worker AND seen_at < clock_timestamp() - interval '{BURIED_AFTER_S} s'
    """
)
_LEAVE = postgres_statement("DELETE FROM workers WHERE id = :worker")
_ALL = postgres_statement(
    """
    SELECT id, role, host, pid, version, run_seq, accounts, waits,
        CAST(extract(epoch FROM clock_timestamp() - seen_at) AS double precision)
    FROM workers ORDER BY joined_at, id
    """
)
_HAS_TABLE = postgres_statement("SELECT to_regclass('workers') IS NOT NULL")
_CLAIM = postgres_statement(
    """
    WITH claimant AS MATERIALIZED (
        SELECT id FROM workers WHERE id = :worker FOR KEY SHARE
    ), free AS (
        SELECT seq FROM jobs
        WHERE state = 'pending' AND listed_in = :manifest_seq
            AND EXISTS (SELECT 1 FROM claimant)
            AND NOT EXISTS (SELECT 1 FROM claims WHERE job_seq = jobs.seq)
        ORDER BY priority DESC, position LIMIT :most
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        INSERT INTO claims SELECT seq, :worker FROM free ON CONFLICT DO NOTHING RETURNING job_seq
    )
    SELECT seq, id, model, input_json, outputs_wanted, control_sha256, control_path, reseed
    FROM jobs JOIN claimed ON claimed.job_seq = jobs.seq
    ORDER BY priority DESC, position
    """
)
_DROP_ENDED_CLAIMS = postgres_statement(
    """
    DELETE FROM claims USING jobs
    WHERE claims.worker = :worker AND jobs.seq = claims.job_seq
        AND jobs.state IN ('done', 'failed', 'generated')
    """
)
_FREE_CLAIMS = postgres_statement("DELETE FROM claims WHERE worker = :worker")
_CLAIM_THESE = postgres_statement(
    """
    WITH claimant AS MATERIALIZED (
        SELECT id FROM workers WHERE id = :worker FOR KEY SHARE
    )
    INSERT INTO claims
    SELECT DISTINCT CAST(value AS bigint), claimant.id
    FROM claimant, json_array_elements_text(CAST(:jobs AS json))
    ON CONFLICT (job_seq) DO UPDATE SET worker = excluded.worker
    """
)
_UNCLAIMED = postgres_statement(
    """
    SELECT EXISTS (
        SELECT 1 FROM jobs WHERE state = 'pending' AND listed_in = :manifest_seq
            AND NOT EXISTS (SELECT 1 FROM claims WHERE job_seq = jobs.seq)
    )
    """
)


def new_worker_id(random: Random) -> str:
    """Of this process, and of no other one ever; what tells its joinings apart is by *random*."""
    return f"{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}"


def join(db: Database, worker: str, role: Role, accounts: Collection[str] = ()) -> None:
    """Be at work from now on; raise `HeldElsewhere` where others forbid it, `ConfigError` where
    another dataset of the accounts may not be read.

    Within the dataset's turn, so that of two who come at once each sees the other.
    """
    db.run(_BURY, {"worker": worker})
    for other in workers(db):
        if other.role == "maintenance" or role == "maintenance":
            raise HeldElsewhere(
                f"the dataset is in use by {described(other)}; wait for it, or stop it"
                f"{if_dead(other)}"
            )
        if other.version != __version__:
            raise HeldElsewhere(
                f"{described(other)} is fluxbatch {other.version}, this is {__version__}; two"
                f" versions do not share a ledger: stop it, or use its version{if_dead(other)}"
            )
    if accounts:
        readable_datasets(db, accounts)
    db.run(
        _JOIN,
        {
            "worker": worker,
            "role": role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "accounts": json.dumps(sorted(accounts)),
        },
    )


def have_keys_of(db: Database, worker: str, accounts: Collection[str]) -> None:
    """The worker may create on these *accounts*, and on no other one."""
    db.run(_KEYS, {"worker": worker, "accounts": json.dumps(sorted(accounts))})


def described(worker: Worker) -> str:
    """A process as people know it."""
    kind = "a worker" if worker.role == "run" else "a maintenance verb"
    return f"{kind} on {worker.host} (pid {worker.pid})"


def if_dead(worker: Worker) -> str:
    """What to add where it is in the way: nobody can tell at once that a process was killed."""
    left_s = math.ceil(min(BURIED_AFTER_S, BURIED_AFTER_S - worker.seen_s))
    return f" (if it was killed, this works in {max(left_s, 1)} s)"


def work_on(db: Database, worker: str, run_seq: int) -> None:
    """The worker's run is known."""
    db.run(_WORK_ON, {"worker": worker, "run_seq": run_seq})


def be_seen(db: Database, worker: str, waits: str | None) -> None:
    """This process lives; raise `WorkerGone` where the others have buried it."""
    if not db.run(_SEEN, {"worker": worker, "waits": waits}):
        raise WorkerGone("the other workers took this one for dead; it joins anew")


def date_no_later(db: Database) -> None:
    """Nobody was seen later than now: the server's clock may have been set back."""
    db.run(_DATE_NO_LATER)


def bury(db: Database, worker: str) -> None:
    """Whoever has been silent for too long is gone, and what it had claimed is free."""
    db.run(_BURY, {"worker": worker})


def leave(db: Database, worker: str) -> None:
    db.run(_LEAVE, {"worker": worker})


def workers(db: Database) -> list[Worker]:
    """Everybody at work, in the order in which they came."""
    return [
        Worker(name, role, host, pid, version, run, frozenset(json.loads(accounts)), waits, seen_s)
        for name, role, host, pid, version, run, accounts, waits, seen_s in db.run(_ALL)
    ]


def is_anyone_at_work(db: Database) -> bool:
    """Whether any process is; needs no right but to read."""
    ((is_shared,),) = db.run(_HAS_TABLE)
    return bool(is_shared) and any(not one.is_silent for one in workers(db))


def claim_jobs(db: Database, worker: str, manifest_seq: int, most: int) -> list[QueuedJob]:
    """Up to *most* pending jobs in line that nobody has claimed; they are this worker's now.

    None for a worker that the others have buried: its next heartbeat tells it so.
    """
    db.run(_DROP_ENDED_CLAIMS, {"worker": worker})
    params = {"worker": worker, "manifest_seq": manifest_seq, "most": most}
    return [queued_job(record) for record in db.run(_CLAIM, params)]


def claim_these(db: Database, worker: str, jobs: Sequence[int]) -> None:
    """Jobs whose predictions this worker follows: they come back to it, if they do."""
    if jobs:
        db.run(_CLAIM_THESE, {"worker": worker, "jobs": json.dumps(list(jobs))})


def free_claims(db: Database, worker: str) -> None:
    """This worker has no job in hand."""
    db.run(_FREE_CLAIMS, {"worker": worker})


def are_jobs_unclaimed(db: Database, manifest_seq: int) -> bool:
    ((found,),) = db.run(_UNCLAIMED, {"manifest_seq": manifest_seq})
    return bool(found)


@contextmanager
def maintaining(connect: Callable[[], Database]) -> Iterator[None]:
    """Be the one process at work on a dataset; raise `HeldElsewhere` naming another.

    A thread with a connection of its own keeps it so; where that fails for long, the others may
    begin, as after a lease.
    """
    worker, ended = new_worker_id(Random()), threading.Event()
    with closing(connect()) as db:
        SideConnection(db).transaction(
            partial(join, worker=worker, role="maintenance"), in_turn=True
        )

        def keep() -> None:
            while not ended.wait(BEAT_S):
                with suppress(FluxbatchError):
                    be_seen(db, worker, None)

        keeper = threading.Thread(target=keep, name="fluxbatch-lock", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            with suppress(FluxbatchError):  # the others bury it
                leave(db, worker)
