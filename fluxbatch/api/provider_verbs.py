"""The command line's verbs that ask the provider, or a run at work, for programs.

Owns what each takes and answers: the plain values that the command line prints. All are async;
their twins for other code are `SyncDataset`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from fluxbatch.api.run_at_work import RunAtWork
from fluxbatch.api.threaded_verbs import ThreadedVerbs
from fluxbatch.cluster.pools import shard_pool
from fluxbatch.config.api_keys import ApiKey, keys_for
from fluxbatch.config.loading import environment, load_settings
from fluxbatch.errors import ConfigError
from fluxbatch.events import Event, Events
from fluxbatch.export.coverage import Combination
from fluxbatch.export.filter import EVERYTHING, parse_filter
from fluxbatch.maintenance import (
    CancelReport,
    DatasetRequest,
    PruneReport,
    ReconcileReport,
    RepairReport,
    cancel_dataset,
    prune_uploads,
    reconcile_dataset,
    repair_dataset,
    saved_settings,
)
from fluxbatch.maintenance.recover import RecoverReport, recover_dataset
from fluxbatch.maintenance.reroll import (
    RerollChoice,
    Rerolled,
    reroll_dataset,
    reroll_settings,
)

_OnEvent = Callable[[Event], None]


class ProviderVerbs(ThreadedVerbs):
    """What is asked of the provider. Every method raises `FluxbatchError`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunAtWork]:
        """The run that is at work, wherever it was begun; raises `ConfigError` where none is.

        It goes on after the block.
        """
        run = RunAtWork(self._folder)
        await run.show()
        yield run

    async def reconcile(
        self, *, adopt: bool = False, base_url: str = "", on_event: _OnEvent | None = None
    ) -> ReconcileReport:
        """Settle and audit against the provider's own record; creates nothing."""
        request = self._asking(base_url)
        return await reconcile_dataset(request, _heard(on_event), adopt=adopt)

    async def repair(
        self,
        *,
        base_url: str = "",
        on_event: _OnEvent | None = None,
        processes: int | str = 1,
        on: str | None = None,
    ) -> RepairReport:
        """Check every stored file and fetch again what is not whole; without a key, only check.

        *processes*: the files are read by so many, or by one a core where it is `"auto"`.
        *on*: `"ray"` for the cluster of RAY_ADDRESS.
        """
        with shard_pool(processes, on) as pool:
            asking = self._asking(base_url, needs_key=False)
            return await repair_dataset(asking, _heard(on_event), pool=pool)

    async def recover(self, *, base_url: str = "") -> RecoverReport:
        """Write a lost ledger anew from sidecars and images; buys nothing.

        With a key of the environment the provider's listing tells what it cost. Raises
        `ConfigError` where the ledger is there, or nothing tells of one.
        """
        environ = environment()
        flags = {"provider": {"base_url": base_url}} if base_url else {}
        settings = load_settings(None, flags, environ)
        try:
            keys = tuple(keys_for(settings, environ))
        except ConfigError:
            keys = ()
        return await recover_dataset(DatasetRequest(settings, keys, self._folder))

    async def reroll(
        self,
        where: str = "",
        *,
        budget: str | Decimal | None = None,
        until: int | None = None,
        per: str | Sequence[str] = (),
        base_url: str = "",
        on_event: _OnEvent | None = None,
    ) -> Rerolled:
        """Make rows anew, each with another seed, for *budget* dollars at most: those of which an
        image fits *where*, or with *until* what is missing to so many kept of each combination of
        the fields *per*. With the environment's keys, and the settings of the latest run.

        The images that are there stay. Called again, it makes what is left, and nothing twice.
        """
        environ = environment()
        cap = str(budget) if budget is not None else None
        settings = reroll_settings(self._folder, cap, base_url, environ)
        request = DatasetRequest(settings, tuple(keys_for(settings, environ)), self._folder)
        fields = per.split(",") if isinstance(per, str) else per
        choice = RerollChoice(
            where=parse_filter(where) if where else EVERYTHING,
            until=until,
            per=Combination([field.strip() for field in fields]) if per else None,
        )
        return await reroll_dataset(request, choice, _heard(on_event))

    async def cancel(
        self, *, wait_s: float = 60.0, base_url: str = "", on_event: _OnEvent | None = None
    ) -> CancelReport:
        """Ask the provider to stop what runs, and follow it for *wait_s* seconds at most."""
        return await cancel_dataset(self._asking(base_url), _heard(on_event), wait_s=wait_s)

    async def prune_uploads(
        self, *, base_url: str = "", on_event: _OnEvent | None = None
    ) -> PruneReport:
        """Delete at the provider every upload that no pending or active job needs."""
        return await prune_uploads(self._asking(base_url), _heard(on_event))

    def _asking(self, base_url: str, *, needs_key: bool = True) -> DatasetRequest:
        """With the environment's keys, and the provider as the latest run was configured."""
        environ = environment()
        flags = {"provider": {"base_url": base_url}} if base_url else {}
        settings = saved_settings(self._folder, flags, environ)
        try:
            keys: list[ApiKey] = keys_for(settings, environ)
        except ConfigError:
            if needs_key:
                raise
            keys = []
        return DatasetRequest(settings, tuple(keys), self._folder)


def _heard(on_event: _OnEvent | None) -> Events:
    return Events(on_event) if on_event is not None else Events()
