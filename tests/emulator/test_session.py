"""Long seeded sessions with every fault at once: the billing must balance, and repeat exactly."""

from __future__ import annotations

import hashlib
import random

import pytest

from fluxbatch.emulator import router
from fluxbatch.emulator.admin_api import stats
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.faults import FAULTS
from fluxbatch.emulator.messages import Call
from tests.emulator.support import HEADERS, KEY, ORIGIN, FakeClock, make_core, order


def _session(seed: int) -> tuple[ProviderCore, str]:
    """600 calls of a client that buys, polls, cancels and lists as its dice say."""
    clock, dice, log = FakeClock(), random.Random(seed), hashlib.sha256()
    core = make_core(clock, sigma=0.15, seed=seed)
    core.listen_at(ORIGIN)
    core.faults.merge(dict.fromkeys(FAULTS, 0.1))
    ids = ["unknown"]
    for number in range(600):
        clock.pass_(dice.expovariate(2.0))
        match dice.choice("ccggggxl"):
            case "c":
                body = {**order(str(dice.randrange(200))), "webhook_url": f"{ORIGIN}/{number}"}
                reply = core.create(KEY, body)
                if reply.status == 200 and isinstance(reply.body, dict):
                    ids.append(reply.body.get("predictionID", "unknown"))
            case "g":
                reply = core.get(KEY, dice.choice(ids))
            case "x":
                reply = core.cancel(KEY, dice.choice(ids))
            case _:
                headers = {name.lower(): value for name, value in HEADERS.items()}
                reply = router.handle_call(core, Call("GET", "/v1/executions", headers=headers))
        for delivery in core.deliveries():
            core.delivered(delivery, dice.choice((200, 500)))
            log.update(repr(delivery).encode())
        log.update(repr(reply).encode())
    return core, log.hexdigest()


@pytest.mark.parametrize("seed", range(5))
def test_the_books_balance_after_any_session(seed: int) -> None:
    """
    Totals are the sums of the rows, and the limits held as the witness saw it.
    """
    core, _ = _session(seed)
    own = [p for p in core.executor.history if not p.stranger]
    told = stats(core)

    assert told["created"] == len(own)
    assert told["billed"] == sum(p.billed for p in own)
    assert told["billed_micro_usd"] == sum(p.cost_micro_usd for p in own)
    assert told["double_billed"] == sum(p.billed and p.repeats_another for p in own)
    assert told["unfinished"] == sum(p.ended_at is None for p in own)
    assert told["in_flight_micro_usd"] == sum(p.price_micro_usd for p in own if not p.ended_at)
    assert 0 < told["worst_window"] <= 100
    assert 0 < told["worst_concurrency"] <= 10


def test_a_seed_repeats_a_session_to_the_byte() -> None:
    """
    Same dice, same clock: same replies, deliveries and ends; another seed, another session.
    """
    assert _session(1)[1] == _session(1)[1]
    assert _session(1)[1] != _session(2)[1]
