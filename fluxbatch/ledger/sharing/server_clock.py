"""The database server's clock, as the one clock that machines share.

Owns `fluxbatch.clock` and `fluxbatch.clock_sightings`. The clock's generation is another one after
a failover to a server that may lack commits, and after a step of the clock, so that no moment of
before is compared with one of after by seconds. A machine's latest sighting stays when its
processes have ended: the next one notices a step that came about meanwhile.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from typing import NamedTuple

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import postgres_statement


class ServerTime(NamedTuple):
    """What the server says of time at one moment."""

    now_s: float
    """Seconds since 1970 by the server's clock."""
    began_s: float
    """When the generation began, by the same."""
    boot_id: str
    """Of the generation."""
    generation: int
    failover: int
    """The generation that the latest failover began; 0: there was none."""
    is_new_timeline: bool
    """The server has been promoted since the generation began, and nobody has said so yet."""


TIMELINE = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
"""Another one after each promotion; any role may ask."""
_READ = postgres_statement(
    f"""
    SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM began_at),
        'pg-' || id || '-' || generation, generation, failover, timeline <> {TIMELINE}
    FROM fluxbatch.clock
    """
)
_ADVANCE = postgres_statement(
    f"""
    UPDATE fluxbatch.clock SET generation = generation + 1, timeline = {TIMELINE},
        failover = CASE WHEN :is_failover = 1 THEN generation + 1 ELSE failover END,
        began_at = clock_timestamp()
    WHERE generation = :generation
    """
)


def read_server_time(db: Database) -> ServerTime:
    ((now_s, began_s, boot_id, generation, failover, is_new),) = db.run(_READ)
    return ServerTime(
        float(now_s), float(began_s), boot_id, int(generation), int(failover), bool(is_new)
    )


def advance_generation(db: Database, seen: int, *, is_failover: bool) -> None:
    """Begin another generation, unless somebody has since *seen* was read."""
    db.run(_ADVANCE, {"generation": seen, "is_failover": int(is_failover)})


class ClockSighting(NamedTuple):
    """What a machine last saw of the server's clock, in one boot of its own."""

    generation: str
    offset_s: float
    """The server's seconds since 1970 less the machine's seconds since boot."""


_RECALL = postgres_statement(
    "SELECT generation, offset_s FROM fluxbatch.clock_sightings WHERE machine = :machine"
)
_REMEMBER = postgres_statement(
    """
    INSERT INTO fluxbatch.clock_sightings VALUES (:machine, :generation, :offset_s)
    ON CONFLICT (machine) DO UPDATE
    SET generation = excluded.generation, offset_s = excluded.offset_s
    """
)


def recall_sighting(db: Database, machine: str) -> ClockSighting | None:
    """The latest of that boot of a machine, whichever process had it."""
    return next((ClockSighting(*row) for row in db.run(_RECALL, {"machine": machine})), None)


def remember_sighting(db: Database, machine: str, seen: ClockSighting) -> None:
    """For whichever process is the next one on that machine."""
    db.run(_REMEMBER, {"machine": machine, **seen._asdict()})
