"""A run at work in another process or task, steered from Python.

Owns what is promised to programs; what each request does is the run's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from fluxbatch.api.sync_calls import SyncTwin, twin
from fluxbatch.dataset.control_client import add_key, control
from fluxbatch.dataset.folder import Folder
from fluxbatch.infra.runtime import in_thread


class RunAtWork:
    """The run that is at work on a dataset; every call answers what `ctl --json` would.

    Each raises `ConfigError` where it is at work no more, or refuses.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    async def show(self) -> Mapping[str, Any]:
        """Where it stands."""
        return await self._ask("show")

    async def pause(self, reason: str = "") -> Mapping[str, Any]:
        """Nothing more is created; what runs goes on."""
        return await self._ask("pause", reason)

    async def resume(self, reason: str = "") -> Mapping[str, Any]:
        """It goes on."""
        return await self._ask("resume", reason)

    async def stop(self, reason: str = "") -> Mapping[str, Any]:
        """What runs is finished; then it ends with exit code 4."""
        return await self._ask("stop", reason)

    async def budget(self, usd: str | float | Decimal, reason: str = "") -> Mapping[str, Any]:
        """US dollars it may cost from here on; below what is spent it stops."""
        return await self._ask("budget", reason, str(usd))

    async def limits(
        self, *, creates: int | None = None, slots: int | None = None, reason: str = ""
    ) -> list[Mapping[str, Any]]:
        """What each account may do from here on; one answer for each that is given."""
        given = {"limits.creates": creates, "limits.slots": slots}
        return [
            await self._ask(name, reason, str(number))
            for name, number in given.items()
            if number is not None
        ]

    async def lane(self, label: str, *, is_on: bool, reason: str = "") -> Mapping[str, Any]:
        """Whether anything leaves on that lane from here on."""
        return await self._ask("lane", reason, f"{label} {'on' if is_on else 'off'}")

    async def add_key(
        self, key: str, *, label: str = "", account: str = "", reason: str = ""
    ) -> Mapping[str, Any]:
        """One more key, its text; empty, the label and the account are made of its fingerprint.

        Where the run's ledger is in PostgreSQL, no key goes through it: start another worker.
        Raises `HeldElsewhere` where another dataset uses the account.
        """
        given = partial(add_key, self._folder, key, label, account, reason=reason)
        return await in_thread(given)

    async def _ask(self, action: str, reason: str = "", value: str = "") -> Mapping[str, Any]:
        return await in_thread(partial(control, self._folder, action, value, reason=reason))


class SyncRunAtWork(SyncTwin[RunAtWork]):
    """The same calls for code without `await`."""

    show = twin(RunAtWork.show)
    pause = twin(RunAtWork.pause)
    resume = twin(RunAtWork.resume)
    stop = twin(RunAtWork.stop)
    budget = twin(RunAtWork.budget)
    limits = twin(RunAtWork.limits)
    lane = twin(RunAtWork.lane)
    add_key = twin(RunAtWork.add_key)
