"""The preparation of a run: whatever may refuse it before it buys.

Owns the order of that: model, books, image store, manifest. Takes no lane and begins no run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fluxbatch.dataset.control_copies import ControlCopies
from fluxbatch.dataset.image_store import claim_images
from fluxbatch.dataset.model_card import kept_cards, resolve_for_run
from fluxbatch.engine.manifest_import import ManifestImporter, MayWrite
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.session import Network
from fluxbatch.events import Events, Noticed
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations import budgets
from fluxbatch.models import ModelCard
from fluxbatch.sink import ImageStore

Importing = Callable[[], AbstractAsyncContextManager[MayWrite]]
"""Holds the right to import; what it gives raises in a transaction that has lost it."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """Whatever may refuse a run before it buys, done."""

    card: ModelCard
    other_cards: Mapping[str, ModelCard]
    images: ImageStore
    manifest_seq: int


async def prepare(
    request: RunRequest,
    events: Events,
    runtime: Runtime,
    network: Network,
    db: Database,
    importing: Importing = lambda: nullcontext(lambda _: None),
) -> PreparedRun:
    """Model, books, image store and manifest; *importing* is held while that is read."""
    settings, keys, folder = request.settings, request.keys, request.folder
    say = partial(_say, events)
    card = await resolve_for_run(settings, keys, db, network.transport, runtime, say)
    await runtime.to_thread(partial(budgets.audit, db))
    sink = settings.sink
    claimed = partial(claim_images, folder, db, sink.store, timeout_s=sink.timeout)
    images = await runtime.to_thread(claimed)
    if request.manifest_seq is None:
        manifest_seq = await _imported(request, card, images, events, runtime, db, importing)
    else:
        manifest_seq = request.manifest_seq
    others = await runtime.to_thread(partial(kept_cards, db))
    return PreparedRun(card, others, images, manifest_seq)


async def _imported(
    request: RunRequest,
    card: ModelCard,
    images: ImageStore,
    events: Events,
    runtime: Runtime,
    db: Database,
    importing: Importing,
) -> int:
    """The manifest's place in the ledger, once every row of it is there."""
    settings, folder = request.settings, request.folder
    most, controls = request.most_jobs, folder.controls.absolute()
    path = request.manifest or (Path(settings.manifest) if settings.manifest else None)
    async with importing() as may_write:
        importer = ManifestImporter(
            settings,
            card,
            db,
            runtime,
            events,
            most_jobs=most,
            controls=controls,
            copies=ControlCopies(images) if folder.is_shared else None,
            may_write=may_write,
        )
        manifest = await importer.read(path, skip_invalid=request.skip_invalid)
    return manifest.seq


def _say(events: Events, message: str) -> None:
    events.emit(Noticed(message))
