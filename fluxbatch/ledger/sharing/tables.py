"""The tables by which several processes share one PostgreSQL ledger.

Owns their names and columns. In the dataset's schema: who is at work, which jobs they have
claimed, what holds for a run as a whole, what people say of the images. In the schema `fluxbatch`,
which all datasets of the database have in common: who holds each account's lane, which datasets
have used it, the generation of the server's clock, and what each machine saw of it. None of them
holds money or results: those are in `schema`, and are the same as in a file.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

SHARED = "fluxbatch"
"""The schema that all datasets of a database share; no dataset may have that name."""

BURIED_AFTER_S = 15
"""Who has not been seen for so long is at work no more."""
ALIVE = (
    "SELECT host, pid, version FROM workers"
    f" WHERE seen_at > clock_timestamp() - interval '{BURIED_AFTER_S} s'"
)

OF_THE_DATASET = (
    """
    CREATE TABLE IF NOT EXISTS workers (
        id text PRIMARY KEY,
        role text NOT NULL,
        host text NOT NULL,
        pid bigint NOT NULL,
        version text NOT NULL,
        run_seq bigint,
        accounts text NOT NULL,
        waits text,
        lanes text NOT NULL DEFAULT '[]',
        obeys bigint,
        joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS claims (
        job_seq bigint PRIMARY KEY,
        worker text NOT NULL REFERENCES workers (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX IF NOT EXISTS claims_of_worker ON claims (worker)",
    """
    CREATE TABLE IF NOT EXISTS run_gates (
        run_seq bigint PRIMARY KEY REFERENCES runs (seq),
        caps text NOT NULL,
        most_creates bigint,
        failure_cap text,
        most_failures bigint,
        failed_share double precision,
        most_alike bigint,
        ends bigint NOT NULL DEFAULT 0,
        failures bigint NOT NULL DEFAULT 0,
        latest_failure text,
        alike bigint NOT NULL DEFAULT 0,
        control_number bigint NOT NULL DEFAULT 0,
        controls text,
        stop_code integer,
        stop_reason text
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS rating_changes (
        seq bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        batch bigint NOT NULL,
        at text NOT NULL,
        who text NOT NULL,
        sha256 text NOT NULL,
        rating text,
        stars integer,
        note text,
        undone_at text,
        undone_seq bigint
    )
    """,
    "CREATE INDEX IF NOT EXISTS rating_changes_sha256 ON rating_changes (sha256, seq)",
    "CREATE INDEX IF NOT EXISTS rating_changes_batch ON rating_changes (batch)",
    "CREATE INDEX IF NOT EXISTS rating_changes_undone ON rating_changes (undone_seq)",
    "CREATE INDEX IF NOT EXISTS predictions_of_account ON predictions (account, seq DESC)",
)

OF_ALL_DATASETS = (
    f"CREATE SCHEMA IF NOT EXISTS {SHARED}",
    f"""
    CREATE TABLE IF NOT EXISTS {SHARED}.lanes (
        account text PRIMARY KEY,
        holder text,
        dataset text,
        epoch bigint NOT NULL DEFAULT 0,
        expires_at timestamptz
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {SHARED}.lane_datasets (
        account text NOT NULL,
        dataset text NOT NULL,
        PRIMARY KEY (account, dataset)
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {SHARED}.failover_searches (
        account text NOT NULL,
        dataset text NOT NULL,
        failover bigint NOT NULL,
        PRIMARY KEY (account, dataset)
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {SHARED}.clock (
        one integer PRIMARY KEY,
        id text NOT NULL,
        timeline text NOT NULL,
        generation bigint NOT NULL,
        failover bigint NOT NULL,
        began_at timestamptz NOT NULL
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {SHARED}.clock_sightings (
        machine text PRIMARY KEY,
        generation text NOT NULL,
        offset_s double precision NOT NULL
    )
    """,
    f"""
    INSERT INTO {SHARED}.clock
    VALUES (1, md5(random()::text), left(pg_walfile_name(pg_current_wal_lsn()), 8), 1, 0,
        clock_timestamp())
    ON CONFLICT DO NOTHING
    """,
)
