"""`uploads prune`: uploaded images that no job waits for are deleted at the provider.

Owns the order that keeps a run from ever sending the address of a file that is gone: the ledger
lets the address expire, the provider deletes, the ledger forgets. Cut short anywhere, the next
run uploads anew what it needs, and the next prune goes on.
"""

from __future__ import annotations

from functools import partial

from fluxbatch.engine.session import DatasetRequest, Network, RunSession
from fluxbatch.errors import ApiError, KeyRefused
from fluxbatch.events import Events
from fluxbatch.infra.concurrency import for_each
from fluxbatch.infra.runtime import Runtime
from fluxbatch.ledger.operations.uploads import (
    ForgetUpload,
    RetireUpload,
    UnusedUpload,
    count_uploads,
    unused_uploads,
)
from fluxbatch.maintenance.reports import PruneReport
from fluxbatch.maintenance.session import open_session


async def prune_uploads(
    request: DatasetRequest,
    events: Events,
    *,
    runtime: Runtime | None = None,
    network: Network | None = None,
    handle_signals: bool = False,
) -> PruneReport:
    """Delete every upload that neither a pending nor an active job needs.

    Raises `FluxbatchError` where it could not begin, `HeldElsewhere` while a run goes on.
    """
    return await open_session(
        request,
        events,
        _prune,
        PruneReport(),
        runtime=runtime,
        network=network,
        handle_signals=handle_signals,
    )


async def _prune(session: RunSession, report: PruneReport) -> None:
    unused = await session.context.read(unused_uploads)
    await for_each(unused, partial(_delete, session, report))
    report.kept = await session.context.read(count_uploads) - len(report.refused)


async def _delete(session: RunSession, report: PruneReport, one: UnusedUpload) -> None:
    """By the key that uploaded it, else any other that may."""
    context = session.context
    if context.stop.code is not None:
        return
    names = sorted(context.clients, key=lambda name: name != one.key_fingerprint)
    refusal: str | None = "no key of this invocation may delete it"
    await context.ledger.apply(RetireUpload(context.runtime.clock.now(), one.sha256))
    for name in names:
        try:
            await context.clients[name].delete_file(one.file_id)
        except KeyRefused as exc:
            refusal, report.no_key = str(exc), True
        except ApiError as exc:
            refusal = str(exc)
            break
        else:
            refusal = None
            break
    if refusal is not None:
        report.refused.append(refusal)
        return
    await context.ledger.apply(ForgetUpload(one.sha256, one.file_id))
    report.deleted += 1
    report.deleted_bytes += one.bytes
