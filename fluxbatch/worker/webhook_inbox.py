"""The inbox of verified webhooks for this run's predictions, and how far to rely on them.

Owns a mailbox for every prediction that a webhook may still report, and the count of ends
that none reported. What is in a mailbox is verified and nothing more: whoever waits for the
prediction judges it. Bounded, whatever is sent. Source: docs/design/protocol.md 2 and 3.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from fluxbatch.domain.job import PredictionId
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.provider import Prediction, WebhookAddress, WebhookAttempt, WebhookUrls

_T = TypeVar("_T")

BY_WEBHOOK = "by webhook"
"""How a create without an answer was found: proven ours."""

_MOST_KEPT = 16
_MOST_LATE = 1_000
_JUDGED_BY = 20
_MISSES = 5
"""So many of the latest `_JUDGED_BY` ends without a webhook, and they are not waited for."""

Notification = Prediction | None
"""A delivery; None: one that could not be read."""


class Mailbox:
    """The deliveries for one prediction that nobody has looked at yet."""

    def __init__(self, address: WebhookAddress | None = None) -> None:
        self.address = address
        """None: no webhook reports it."""
        self._unread: deque[Notification] = deque()
        self._arrived = anyio.Event()

    def put(self, notification: Notification) -> None:
        if notification in self._unread or len(self._unread) >= _MOST_KEPT:
            return
        self._unread.append(notification)
        self._arrived.set()

    def take(self) -> list[Notification]:
        """All that has come, and none of it a second time."""
        if not self._unread:
            return []
        delivered = list(self._unread)
        self._unread.clear()
        self._arrived = anyio.Event()
        return delivered

    async def filled(self, within_s: float = math.inf) -> bool:
        """Wait until something is in it; False once *within_s* have passed without."""
        if self.address is None:
            await anyio.sleep(within_s)
            return False
        with anyio.move_on_after(within_s):
            await self._arrived.wait()
            return True
        return False

    async def named(self) -> PredictionId:
        """The id under which the provider has it, once a delivery says so; that stays inside."""
        while True:
            for notification in self._unread:
                if notification is not None and notification.prediction_id is not None:
                    return notification.prediction_id
            # Set already where only unreadable ones have come: they would wake us for ever.
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def unless_named(self, answer: Callable[[], Awaitable[_T]]) -> _T | PredictionId:
        """The answer to a create, or the id that its own webhook gave first.

        A webhook proves the create and its id, so its answer is not needed any more. Raises what
        *answer* does.
        """
        if self.address is None:
            return await answer()
        named = list[PredictionId]()
        answered = list[_T]()
        failed: Exception | None = None
        async with anyio.create_task_group() as race:

            async def listen() -> None:
                named.append(await self.named())
                race.cancel_scope.cancel()

            race.start_soon(listen, name="early-webhook")
            try:
                answered.append(await answer())
            except Exception as exc:  # noqa: BLE001  raised below, out of the group, as it is
                failed = exc
            race.cancel_scope.cancel()
        if failed is not None and not named:
            raise failed
        return answered[0] if answered else named[0]


_NOBODYS = Mailbox()
"""Of every prediction that no webhook reports: nothing is ever put in."""


class WebhookInbox:
    """Every mailbox of a run. Closed, nothing is expected and nothing comes."""

    def __init__(self) -> None:
        self._names: WebhookUrls | None = None
        self._boxes: dict[WebhookAttempt, Mailbox] = {}
        self._by_number: dict[int, Mailbox] = {}
        self._notified: deque[bool] = deque(maxlen=_JUDGED_BY)
        self._late: deque[tuple[WebhookAttempt, Prediction]] = deque()
        self._any_late = anyio.Event()
        self._asked_for_cost: set[Hashable] = set()

    @property
    def are_open(self) -> bool:
        """Whether anything may be told."""
        return self._names is not None

    def open(self, names: WebhookUrls) -> None:
        """From now on creates name a webhook."""
        self._names = names

    @contextmanager
    def expecting(self, prediction_seq: int, intended: Timestamp) -> Iterator[Mailbox]:
        """A mailbox for the webhooks of a prediction, as long as a task works on it."""
        if self._names is None:
            yield _NOBODYS
            return
        attempt = WebhookAttempt.of(prediction_seq, intended)
        mailbox = Mailbox(self._names.address(attempt))
        self._boxes[attempt] = self._by_number[prediction_seq] = mailbox
        try:
            yield mailbox
        finally:
            del self._boxes[attempt], self._by_number[prediction_seq]
            for notification in mailbox.take():
                # It came while something else was being decided.
                self.deliver(attempt, notification)

    def mailbox(self, prediction_seq: int) -> Mailbox:
        """The prediction's mailbox; an empty one for what nobody expects."""
        return self._by_number.get(prediction_seq) or _NOBODYS

    def deliver(self, attempt: WebhookAttempt, notification: Notification) -> None:
        """A delivery was verified."""
        mailbox = self._boxes.get(attempt)
        if mailbox is not None:
            mailbox.put(notification)
        elif notification is not None and len(self._late) < _MOST_LATE:
            self._late.append((attempt, notification))
            self._any_late.set()

    def is_expected(self, attempt: WebhookAttempt) -> bool:
        return attempt in self._boxes

    async def late_arrived(self) -> None:
        """Wait for a webhook of a prediction that no task works on."""
        await self._any_late.wait()

    def take_late(self) -> list[tuple[WebhookAttempt, Prediction]]:
        """All of it, and none of it a second time."""
        delivered = list(self._late)
        self._late.clear()
        self._any_late = anyio.Event()
        return delivered

    def ended(self, *, was_notified: bool) -> bool:
        """A prediction that had a webhook has ended, and the webhook came in time or not.

        True where that is one too many that was not.
        """
        relied = not self.are_silent
        self._notified.append(was_notified)
        if not relied or not self.are_silent:
            return False
        for mailbox in self._boxes.values():
            mailbox.put(None)  # who waits for a webhook asks now instead
        return True

    def distrust(self) -> None:
        """There is reason to think that none will come; so many good ones prove otherwise."""
        for _ in range(_MISSES):
            self.ended(was_notified=False)

    @property
    def are_silent(self) -> bool:
        """Whether too many get lost to be waited for."""
        return self._notified.count(False) >= _MISSES

    def wants_cost(self, kind: Hashable) -> bool:
        """Whether a success of this kind is to be read for its cost; the first one is.

        Webhooks carry no cost. Were the price not what we think, every cap would be wrong.
        """
        if kind in self._asked_for_cost:
            return False
        self._asked_for_cost.add(kind)
        return True
