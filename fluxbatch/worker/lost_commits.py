"""Creates whose intents a promoted standby never had.

Owns the search for them, an account at a time: what the account has made lately and no ledger
knows is taken in as its job's, before anything more is bought with it.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.errors import ApiError, KeyRefused, NotFound
from fluxbatch.events import Noticed
from fluxbatch.ledger.queries.recovery import known_creates
from fluxbatch.provider import Execution, ProviderClient
from fluxbatch.worker.context import WorkerContext
from fluxbatch.worker.orphans import OrphanSearch
from fluxbatch.worker.unknown.listing import MARGIN_S

_AGAIN_S = 5.0
_MORE_S = 60.0


async def take_in_lost_creates(
    context: WorkerContext, keys: Sequence[ApiKey], account: str, hoped_until: datetime
) -> bool:
    """Return once the account's recent executions were looked through; False where no key of it is
    accepted. Where the provider has no listing that cannot be: then it is *hoped_until*.

    That is late enough for every create of before to have arrived and to be listed. The server's
    clock began anew with its promotion, and says how long ago that was.
    """
    wait_s = context.late_s - context.runtime.clock.now().boot_s
    if wait_s > 0:
        context.notice_once(
            "the database's server was promoted: it may lack the latest commits, so nothing is"
            f" bought for {wait_s:.0f} s, until what was made lately is known"
        )
        await anyio.sleep(wait_s)
    lane = context.lanes.lane(account)
    while lane is not None and lane.keys:
        key = lane.keys[0]
        client = context.clients[key.fingerprint]
        try:
            search = OrphanSearch(context, keys)
            rows = await _recent(context, client, account)
            matches = await search.find({row.prediction_id: (row, account) for row in rows})
        except KeyRefused as exc:
            context.lanes.key_out(lane, key, str(exc))
            continue
        except ApiError as exc:
            if not isinstance(exc, NotFound) or context.has_listing:
                context.notice_once(
                    f"what was made before the failover cannot be looked for: {exc}"
                )
            elif context.runtime.clock.now().utc < hoped_until:
                context.notice_once(_no_listing(account, hoped_until))
            else:
                context.notice_once(_never_looked_for(account))
                return True
        else:
            if not search.unread:
                break
        await anyio.sleep(context.jittered(_AGAIN_S))
    else:
        return False
    taken = sum([await search.adopt(match) for match in matches])
    if taken or search.told_none:
        context.events.emit(Noticed(_words(account, taken, search.told_none)))
    return True


def _no_listing(account: str, until: datetime) -> str:
    return (
        "nothing is bought: the provider has no listing (GET /executions), so what account"
        f" {account[:6]} made before the database's failover cannot be looked for; stop the run"
        f" if it matters, or what is lost may be paid again from {until:%H:%M:%S} UTC on"
    )


def _never_looked_for(account: str) -> str:
    return (
        f"what account {account[:6]} made before the database's failover was never looked for, as"
        " the provider has no listing: what was lost of it is paid again"
    )


def _words(account: str, taken: int, told_none: int) -> str:
    words = [f"{taken} creates that the failover had lost were found and taken in"] * bool(taken)
    if told_none:
        words.append(
            f"{told_none} executions of the last minutes are in no ledger and do not tell their"
            " input: where they are this run's, their jobs will be paid again"
        )
    return f"account {account[:6]}: {'; '.join(words)}"


async def _recent(context: WorkerContext, client: ProviderClient, account: str) -> list[Execution]:
    """What nobody on this database is known to have made since well before the failover."""
    now = context.runtime.clock.now()
    margin = timedelta(seconds=MARGIN_S + context.settings.provider.timeout)
    back = timedelta(seconds=now.boot_s + context.settings.provider.deadline + _MORE_S)
    at = context.by_provider(account, now)
    # What was made later has its intent on the server that there is now.
    later = timedelta(seconds=max(0.0, now.boot_s - context.late_s))
    listing = await client.listing(since=at - back - margin, until=at - later + margin)
    ids = [row.prediction_id for row in listing.rows]
    known = await context.read(partial(known_creates, ids=ids))
    elsewhere = await context.runtime.to_thread(context.kept_elsewhere)
    theirs = {one.provider_id for one in elsewhere}
    return [
        row
        for row in listing.rows
        if row.prediction_id not in known and row.prediction_id not in theirs
    ]
