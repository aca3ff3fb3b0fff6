"""A dataset in every state a run can leave it in, and the verbs that maintain it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.emulator.prediction import EmulatedPrediction
from fluxbatch.emulator.settings import ServedLimits
from fluxbatch.events import Event, Events
from fluxbatch.infra.runtime import SystemClock
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.retry import Retried, Retry
from fluxbatch.ledger.writer import commit
from fluxbatch.maintenance import (
    ByHand,
    CancelReport,
    DatasetRequest,
    ReconcileReport,
    RepairReport,
    cancel_dataset,
    reconcile_dataset,
    repair_dataset,
    saved_settings,
)
from tests.emulator.support import until
from tests.support.running import KEY, PHOTO_URL, Bench, Provider, make_rows

PRICE = 25_000
Keys = Sequence[str]


@dataclass
class Ward:
    """One dataset, its provider, and the verbs under test."""

    bench: Bench
    emulator: Provider
    settings: dict[str, dict[str, object]] = field(
        default_factory=lambda: {"sink": {"timeout": 1.0}}
    )
    flags: dict[str, object] = field(default_factory=dict)
    """Over the settings of the verbs, not of the runs."""
    heard: list[Event] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.bench.out

    @property
    def core(self) -> Any:
        return self.emulator.core

    @property
    def stats(self) -> dict[str, Any]:
        return self.emulator.stats

    async def run(self, rows: int = 3, **options: Any) -> int:
        """One invocation of `run`; answers its exit code."""
        self.bench.settings = self.settings
        manifest = self.bench.write(make_rows(rows))
        summary = await self.bench.run(self.emulator.base_url, manifest, **options)
        return int(summary.exit_code)

    async def run_until(self, sql: str, wanted: int, rows: int = 3) -> None:
        """Begin a run, and leave it the hard way once *sql* answers *wanted*."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.run, rows)
            await until(lambda: self.asked(sql) == wanted)
            group.cancel_scope.cancel()

    async def leave_running(self, rows: int = 3) -> None:
        """A run that was left while all of its predictions ran."""
        await self.run_until("SELECT count(*) FROM predictions WHERE state = 'running'", rows, rows)

    def asked(self, sql: str) -> object:
        """The one value that *sql* finds; None while there is no ledger to ask."""
        if not (self.out / "ledger.sqlite").is_file():
            return None
        try:
            found = self.bench.query(sql)
        except Exception:  # noqa: BLE001  # the tables are not there yet
            return None
        return found[0][0] if found else None

    def states(self, table: str = "predictions") -> list[str]:
        return [row[0] for row in self.bench.query(f"SELECT state FROM {table} ORDER BY seq")]

    def spent(self) -> int:
        """What the ledger says everything cost."""
        return int(self.bench.query("SELECT coalesce(sum(cost), 0) FROM predictions")[0][0])

    def request(self, keys: Keys = (KEY,)) -> DatasetRequest:
        """With what the latest run was told, and `flags` over it."""
        folder = Folder(self.out)
        return DatasetRequest(
            saved_settings(folder, self.flags, {}),
            tuple(ApiKey(text, label=f"key-{n}") for n, text in enumerate(keys)),
            folder,
        )

    async def reconcile(
        self, *, adopt: bool = False, by_hand: ByHand | None = None, keys: Keys = (KEY,)
    ) -> ReconcileReport:
        events = Events(self.heard.append)
        return await reconcile_dataset(self.request(keys), events, adopt=adopt, by_hand=by_hand)

    async def repair(self, *, keys: Keys = (KEY,)) -> RepairReport:
        return await repair_dataset(self.request(keys), Events(self.heard.append))

    async def cancel(self, *, wait_s: float = 5.0, keys: Keys = (KEY,)) -> CancelReport:
        return await cancel_dataset(self.request(keys), Events(self.heard.append), wait_s=wait_s)

    def retry(self, *kinds: FailureClass) -> Retried:
        database = SqliteDatabase(self.out / "ledger.sqlite")
        try:
            return commit(database, Retry(SystemClock().now(), kinds))
        finally:
            database.close()

    def change(self, sql: str) -> None:
        """What somebody with a SQL tool might do."""
        with closing(sqlite3.connect(self.out / "ledger.sqlite")) as connection, connection:
            connection.execute(sql)

    def make_empty(self) -> None:
        """A dataset in which nothing ever ran."""
        self.out.mkdir()
        SqliteDatabase(self.out / "ledger.sqlite").close()

    def buy_again(self, prediction: EmulatedPrediction, key: str = KEY) -> str:
        """Somebody asks for the same once more, and no ledger hears of it; answers the id."""
        reply = self.core.create(key, {"model": prediction.model, "input": prediction.input})
        return str(reply.body["predictionID"])

    def buy_other(self, prompt: str, key: str = "a-colleague") -> None:
        """A colleague's picture."""
        values = {"prompt": prompt, "control_image": PHOTO_URL}
        self.core.create(key, {"model": "flux-depth-dev", "input": values})

    def no_limits(self) -> ServedLimits:
        return ServedLimits(creates=0, window_s=60.0, concurrent=0)

    def back_up(self) -> Callable[[], None]:
        """Keep the ledger as it is after a run; the answer puts it back."""
        kept = self.bench.folder / "backup.sqlite"
        shutil.copy(self.out / "ledger.sqlite", kept)

        def restore() -> None:
            shutil.copy(kept, self.out / "ledger.sqlite")

        return restore

    async def all_ended(self) -> None:
        """Nothing runs at the provider any more."""
        await until(lambda: not self.stats["unfinished"])

    def bought(self) -> list[EmulatedPrediction]:
        """What the provider made for us, oldest first."""
        history: list[EmulatedPrediction] = self.core.executor.history
        return [prediction for prediction in history if not prediction.stranger]

    def jobs(self, state: JobState) -> int:
        return self.states("jobs").count(state)
