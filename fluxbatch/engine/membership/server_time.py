"""The server's time, as a process of a shared run learns it, and whether it is another server.

Owns what each heartbeat asks the server's clock, and what is made of a step of it.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from fluxbatch.infra.shared_clock import SharedClock
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.sharing.lanes import shorten_leases
from fluxbatch.ledger.sharing.server_clock import (
    ClockSighting,
    advance_generation,
    read_server_time,
    recall_sighting,
    remember_sighting,
)
from fluxbatch.ledger.sharing.workers import date_no_later


def learn_server_time(db: Database, clock: SharedClock) -> int:
    """Set *clock* by the server's; answers the generation that its latest promotion began.

    A step of the server's clock, or a new timeline, begins another generation. Blocks.
    """
    is_first = not clock.boot_id
    if is_first and (seen := recall_sighting(db, clock.machine)) is not None:
        clock.recall(seen.offset_s, seen.generation)
    for _ in range(2):
        asked_s = clock.asked()
        told = read_server_time(db)
        answered_s = clock.asked()
        has_stepped = clock.has_stepped(asked_s, answered_s, told.now_s)
        if told.boot_id != clock.boot_id and not told.is_new_timeline:
            has_stepped = False  # another process has seen it before
        if not has_stepped and not told.is_new_timeline:
            break
        advance_generation(db, told.generation, is_failover=told.is_new_timeline)
    if is_first or told.boot_id != clock.boot_id:
        shorten_leases(db)
        date_no_later(db)
    clock.set(asked_s, answered_s, told.now_s, told.began_s, told.boot_id)
    remember_sighting(db, clock.machine, ClockSighting(told.boot_id, clock.offset_s))
    return told.failover
