"""The webhook service of one run: the key of its addresses, the listener, a self-check.

Owns what becomes of a run when any of these fails: it goes on by polling, and says so once.
Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from fluxbatch.config.endpoints import Webhook
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import NotSent, SinkError
from fluxbatch.events import Noticed, WebhookMeasured
from fluxbatch.infra.atomic_file import AtomicFile
from fluxbatch.infra.redaction import sanitize
from fluxbatch.provider import (
    ConnectionLost,
    HttpRequest,
    Prediction,
    Transport,
    WebhookAttempt,
    WebhookReceiver,
    WebhookUrls,
)
from fluxbatch.provider.webhook_urls import KEY_BYTES
from fluxbatch.worker.context import WorkerContext

OpenListener = Callable[[WebhookReceiver, str, int], AbstractAsyncContextManager[int]]
"""Serves a receiver at a host and a port; gives the port, raises `OSError` where it cannot."""

_LOOK_S = 5.0


@asynccontextmanager
async def webhook_service(
    context: WorkerContext, folder: Folder, transport: Transport, listen: OpenListener | None = None
) -> AsyncIterator[None]:
    """Let the provider tell of ends, where `webhook.public_url` says how it reaches us.

    Raises `SinkError` where the dataset's key can be neither read nor written.
    """
    webhook = context.settings.webhook
    if webhook.public_url is None:
        yield
        return
    key = await context.runtime.to_thread(partial(webhook_key, folder.webhook_key))
    async with AsyncExitStack() as stack:
        receiver = WebhookReceiver(
            WebhookUrls(key),
            partial(_deliver, context),
            lambda text: sanitize(context.keys.text(text)),
            lambda: context.events.measure(WebhookMeasured("refused")),
        )
        host, port = _place(webhook)
        try:
            serving = (listen or _real_listen())(receiver, host, port)
            port = await stack.enter_async_context(serving)
        except (OSError, ValueError) as exc:  # a host may be no host
            why = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
            context.events.emit(
                Noticed(
                    f"nobody can listen at webhook.listen {webhook.listen!r}: {why};"
                    " ends are found by asking for them"
                )
            )
        else:
            names = WebhookUrls(key, public_address(webhook.public_url, port))
            context.webhooks.open(names)
            looking = await stack.enter_async_context(anyio.create_task_group())
            looking.start_soon(_look, context, names, transport, name="webhook-look")
            stack.callback(looking.cancel_scope.cancel)
        yield


def _deliver(
    context: WorkerContext, attempt: WebhookAttempt, notification: Prediction | None
) -> None:
    context.events.measure(WebhookMeasured("unreadable" if notification is None else "read"))
    context.webhooks.deliver(attempt, notification)


def webhook_key(path: Path) -> bytes:
    """The dataset's key, made when it is first needed. Blocks. Raises `SinkError`."""
    try:
        with suppress(FileNotFoundError):
            key = path.read_bytes()
            path.chmod(0o600)
            if len(key) == KEY_BYTES:
                return key
        key = secrets.token_bytes(KEY_BYTES)
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with AtomicFile(part, mode=0o600) as file:
            file.write(key)
            file.commit(path)
    except OSError as exc:
        raise SinkError(f"cannot keep a key in {str(path)!r}: {exc.strerror}") from exc
    return key


def public_address(url: str, port: int) -> str:
    """*url*, its port 0 replaced by the one the listener got."""
    parts = urlsplit(url)
    if parts.port != 0:
        return url
    return parts._replace(netloc=f"{parts.netloc.removesuffix(':0')}:{port}").geturl()


def _place(webhook: Webhook) -> tuple[str, int]:
    host, _, port = webhook.listen.rpartition(":")
    return host.strip("[]"), int(port)


def _real_listen() -> OpenListener:
    from fluxbatch.provider.webhook_listener import (
        listening,  # aiohttp's server side, only where wanted
    )

    return listening


async def _look(context: WorkerContext, names: WebhookUrls, transport: Transport) -> None:
    """Whether our own listener answers at the public address, as far as can be seen from here.

    Where it does not, webhooks are waited for only once some have come.
    """
    health = names.health
    why = f"no answer within {_LOOK_S:g} s"
    with anyio.move_on_after(_LOOK_S):
        try:
            answer = await transport.send(HttpRequest("GET", health.url, timeout_s=_LOOK_S))
        except NotSent:
            why = "it cannot be reached"
        except ConnectionLost:
            why = "it does not answer"
        else:
            if secrets.compare_digest(answer.body, health.secret.encode()):
                return
            why = f"another one answers there ({answer.status})"
    context.webhooks.distrust()
    context.events.emit(
        Noticed(
            f"webhooks may not come: {names.public_url} does not lead to this run's listener, seen"
            f" from here: {why}; where they do not come, ends are found by asking for them"
        )
    )
