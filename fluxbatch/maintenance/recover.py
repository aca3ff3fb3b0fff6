"""`recover`: a ledger that is lost, written anew from what the dataset's own files tell.

Owns which jobs count as bought again: every one whose image, sidecar or name is there, so that the
next run of the same manifest buys none of them. The ledger appears whole or not at all. What it
cost is the provider's word where a key may read its listing, else the price as an estimate.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fluxbatch._version import __version__
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.adoption import BY_IMAGE
from fluxbatch.domain.job import ControlFile, Job, JobId, PredictionId, Row, canonical_json
from fluxbatch.domain.money import ZERO, DollarsOf, Micros, as_usd
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.engine.session import DatasetRequest
from fluxbatch.errors import ApiError, ConfigError, ExitCode
from fluxbatch.infra.atomic_file import rename_durably, sync
from fluxbatch.infra.runtime import Runtime, Timestamp, real_runtime
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.maintenance import AdoptOrphan
from fluxbatch.ledger.operations.manifest_import import BeginImport, FinishImport, ImportRows
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.operations.runs import EndRun, OpenedRun, OpenRun
from fluxbatch.ledger.operations.transitions import Evidence as MoveFacts
from fluxbatch.ledger.operations.transitions import Transition
from fluxbatch.ledger.writer import BatchCommit
from fluxbatch.maintenance.remains import KeptPrediction, Remains, read_remains, text_of, whole_of
from fluxbatch.models import find_card, known_models
from fluxbatch.provider import Execution, ProviderClient, RetryPolicy, open_transport
from fluxbatch.sink import LocalStore

_MARGIN = timedelta(minutes=10)
_NAMED = 1_000
_A_COMMIT = 2_000
_UNKNOWN_KEY = "unknown"


@dataclass(slots=True)
class RecoverReport:
    """What `recover` found and what it could not know."""

    jobs: int = 0
    images: int = 0
    to_fetch: int = 0
    """Outputs that were bought and whose images are not there: the next run fetches them."""
    by_name: int = 0
    """Images that say no more than their names: their jobs have no prompt in the ledger."""
    unread: list[str] = field(default_factory=list)
    cost: Micros = ZERO
    estimated: Micros = ZERO
    """The part of it that is no more than the price."""
    unlisted: list[str] = field(default_factory=list)
    """Why a listing could not be read."""
    unborne: int = 0
    """Executions of the dataset's models in the listing that none of its files tells of."""

    cost_usd = DollarsOf("cost")
    estimated_usd = DollarsOf("estimated")

    def ended(self) -> tuple[ExitCode, str]:
        return ExitCode.DONE, f"the ledger has {self.jobs:,} jobs and {self.images:,} images again"

    def as_json(self) -> dict[str, object]:
        code, reason = self.ended()
        return {
            "exit": int(code),
            "reason": reason,
            "jobs": self.jobs,
            "images": {
                "recovered": self.images,
                "to_fetch": self.to_fetch,
                "by_name": self.by_name,
            },
            "unread": {"files": len(self.unread), "paths": self.unread[:_NAMED]},
            "cost_usd": {"dataset": as_usd(self.cost), "estimated": as_usd(self.estimated)},
            "listing": {"unborne": self.unborne, "unread": self.unlisted},
        }


class _Listed(NamedTuple):
    """An execution, and the key whose account had it."""

    row: Execution
    key: ApiKey


async def recover_dataset(
    request: DatasetRequest, *, runtime: Runtime | None = None
) -> RecoverReport:
    """Write the ledger of a dataset that has none any more.

    Raises `ConfigError` where it has one, or where nothing tells of it; `SinkError` where it
    cannot be written.
    """
    runtime = runtime or real_runtime()
    folder, report = request.folder, RecoverReport()
    if folder.is_shared:
        raise ConfigError("a ledger in PostgreSQL is put back from the server's own backup")
    if not folder.root.is_dir():
        raise ConfigError(f"{str(folder.root)!r} is no folder")
    folder.refuse_links()
    if folder.lost_ledger() is None:
        raise ConfigError(
            f"{str(folder.root)!r} has its ledger; `fluxbatch repair` mends images. A damaged"
            " ledger is to be moved away first"
        )
    with folder.lock():
        store = LocalStore(folder.root)
        read = partial(read_remains, store, request.settings.sink.max_pixels)
        remains = await runtime.to_thread(read)
        if not remains.predictions:
            raise ConfigError(
                f"nothing in {str(folder.images)!r} tells of a dataset of fluxbatch; a run begins"
                " one"
            )
        listed = await _listing(request, remains, report, runtime)
        write = partial(_write, folder, request, remains, listed, report, runtime)
        await runtime.to_thread(write)
    return report


async def _listing(
    request: DatasetRequest, remains: Remains, report: RecoverReport, runtime: Runtime
) -> dict[str, _Listed]:
    """What each account's listing has since the oldest prediction that is known."""
    created = [kept.created for kept in remains.predictions.values() if kept.created is not None]
    if not request.keys or not created:
        return {}
    now, found = runtime.clock.now().utc, dict[str, _Listed]()
    settings = request.settings.provider
    async with open_transport(settings) as transport:
        for key in {key.account: key for key in reversed(request.keys)}.values():
            client = ProviderClient(transport, settings, key, runtime, RetryPolicy(tries=2))
            try:
                listing = await client.listing(since=min(created) - _MARGIN, until=now + _MARGIN)
            except ApiError as exc:
                report.unlisted.append(f"the provider's listing could not be read: {exc}")
                continue
            for row in listing.rows:
                found.setdefault(row.prediction_id, _Listed(row, key))
    models = {text_of(kept.facts, "model") for kept in remains.predictions.values()}
    ours = {kept.provider_id for kept in remains.predictions.values()}
    report.unborne = sum(
        one.row.model in models and name not in ours and one.row.cost != 0
        for name, one in found.items()
    )
    return found


def _write(
    folder: Folder,
    request: DatasetRequest,
    remains: Remains,
    listed: Mapping[str, _Listed],
    report: RecoverReport,
    runtime: Runtime,
) -> None:
    """Into a file beside, which becomes the ledger when it is whole."""
    half = folder.root / f".{folder.ledger.name}.{secrets.token_hex(4)}.part"
    try:
        with closing(SqliteDatabase(half)) as db:
            _Rebuilt(db, request, listed, report, runtime.clock.now()).fill(remains)
            db.checkpoint()
        for ending in ("-wal", "-shm"):
            Path(f"{half}{ending}").unlink(missing_ok=True)
            stale = folder.root / f"{folder.ledger.name}{ending}"
            stale.unlink(missing_ok=True)
        sync(half)
        rename_durably(half, folder.ledger)
    finally:
        for ending in ("", "-wal", "-shm"):
            Path(f"{half}{ending}").unlink(missing_ok=True)
    report.by_name, report.unread = remains.by_name, remains.unread


class _Rebuilt:
    """A ledger on its way, filled by the operations that a run would have used."""

    def __init__(
        self,
        db: SqliteDatabase,
        request: DatasetRequest,
        listed: Mapping[str, _Listed],
        report: RecoverReport,
        now: Timestamp,
    ) -> None:
        self._db = db
        self._together = BatchCommit(db)
        self._settings: Settings = request.settings
        self._key = request.keys[0] if request.keys else None
        self._listed = listed
        self._report = report
        self._now = now
        self._prices: dict[str, Micros] = {}

    def fill(self, remains: Remains) -> None:
        by_job: dict[str, list[KeptPrediction]] = {}
        for (job, _), kept in sorted(remains.predictions.items()):
            by_job.setdefault(job, []).append(kept)
        models = Counter(self._model(kept) for kept in remains.predictions.values())
        rows = sorted(self._rows(by_job), key=lambda row: row.number)
        rows = [row._replace(number=number) for number, row in enumerate(rows, start=1)]
        run = self._begin(rows, models.most_common(1)[0][0])
        for seq, row in enumerate(rows, start=1):
            assert row.job is not None
            for kept in by_job[row.job.job_id.hex()]:
                self._prediction(run, seq, row.job, kept)
            if seq % _A_COMMIT == 0:
                self._together.settle()
        words = "the ledger was lost and written anew from the dataset's files"
        self._together.apply(EndRun(self._now, run.seq, ExitCode.DONE, words))
        self._together.settle()
        self._report.jobs = len(rows)

    def _rows(self, by_job: Mapping[str, Sequence[KeptPrediction]]) -> Iterator[Row]:
        """One for each job, by what any of its files tells of it."""
        for name, predictions in by_job.items():
            facts = next((kept.facts for kept in predictions if kept.facts), {})
            given = dict(facts.get("input", {}))
            wanted = max((kept.highest + 1 for kept in predictions), default=1)
            if (asked := whole_of(given, "num_outputs")) is not None:
                wanted = max(1, min(asked, 1_000))
            text = _canonical(given)
            job = Job(
                JobId(bytes.fromhex(name)),
                self._model(predictions[0]),
                given if text else {},
                whole_of(facts, "repeat") or 0,
                wanted,
                text or "{}",
            )
            sha256 = text_of(facts, "control_sha256")
            control = ControlFile("", sha256, 0, "") if sha256 is not None else None
            row = facts.get("row") if isinstance(facts.get("row"), dict) else {}
            assert isinstance(row, dict)
            number = whole_of(row, "number") or 2**31
            axes = row.get("axes") if isinstance(row.get("axes"), dict) else None
            yield Row(number, 0, text_of(row, "id"), {}, job, control, axes=axes or {})

    def _model(self, kept: KeptPrediction) -> str:
        return text_of(kept.facts, "model") or self._settings.model

    def _begin(self, rows: Sequence[Row], model: str) -> OpenedRun:
        apply, now = self._together.apply, self._now
        name = f"recovered-{secrets.token_hex(8)}"
        known = apply(BeginImport(now, name, None, 0, model, "{}"))
        apply(ImportRows(now, known.seq, rows))
        apply(FinishImport(now, known.seq, len(rows), 0))
        settings_json = self._settings.model_dump_json(exclude={"notify"})
        return apply(
            OpenRun(
                now, name, known.seq, model, {}, self._day(now.utc), settings_json,
                __version__, "", os.getpid(),
            )
        )  # fmt: skip

    def _prediction(self, run: OpenedRun, job_seq: int, job: Job, kept: KeptPrediction) -> None:
        listed = self._listed.get(kept.provider_id or "")
        key = listed.key if listed is not None else self._key
        created = kept.created or self._now.utc
        adopt = AdoptOrphan(
            at=Timestamp(created, "", 0.0),
            job_seq=job_seq,
            provider_id=PredictionId(kept.provider_id) if kept.provider_id is not None else None,
            created=created,
            account=key.account if key is not None else _UNKNOWN_KEY,
            key_fingerprint=key.fingerprint if key is not None else _UNKNOWN_KEY,
            key_label=key.label if key is not None else _UNKNOWN_KEY,
            run_seq=run.seq,
            run_id=run.run_id,
            price=self._price(job.model),
            caps={},
            budget_day=self._day(created),
            seed=kept.seed,
            control_url=None,
            found=BY_IMAGE,
            reason="the ledger was lost; the dataset's files tell of it",
        )
        seq = self._together.apply(adopt)
        if seq is None:  # two jobs' files name one prediction; whose it was nobody knows
            seq = self._together.apply(replace(adopt, provider_id=None))
        assert seq is not None
        cost = listed.row.cost if listed is not None else None
        number = max(kept.highest + 1, job.outputs_wanted)
        facts = MoveFacts(urls=("",) * number, cost=cost, reason="told by the dataset's files")
        moved = self._together.apply(
            Transition(Timestamp(created, "", 0.0), seq, PredictionEvent.SUCCEEDED, facts)
        )
        self._report.cost = Micros(self._report.cost + moved.charged)
        if cost is None:
            self._report.estimated = Micros(self._report.estimated + moved.charged)
        for output in moved.outputs:
            self._output(output.output_seq, output.number, kept)

    def _output(self, output_seq: int, number: int, kept: KeptPrediction) -> None:
        image = kept.images.get(number)
        if image is None:
            self._report.to_fetch += 1
            return
        self._report.images += 1
        self._together.apply(
            StoreOutput(
                Timestamp(image.stored or self._now.utc, "", 0.0), output_seq, image.path,
                image.sha256, image.bytes, image.mime, image.width, image.height,
                file_sha256=image.file_sha256,
            )
        )  # fmt: skip

    def _price(self, model: str) -> Micros:
        if model not in self._prices:
            price = self._settings.price
            if price is None and model in known_models():
                price = find_card(model).price
            self._prices[model] = price or ZERO
        return self._prices[model]

    def _day(self, at: datetime) -> str:
        return at.astimezone(self._settings.zone).date().isoformat()


def _canonical(given: Mapping[str, object]) -> str | None:
    """As the ledger keeps an input; None where it is none."""
    try:
        return canonical_json(given).decode()
    except (ValueError, RecursionError, UnicodeError):
        return None
