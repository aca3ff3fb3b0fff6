"""The upload cache: the provider's URL of each control image.

Owns the uploads of this run: one per content, a few at a time, kept in the ledger
until it expires, done before a slot is taken. A URL the user gave is passed on as
it is. What is sent has the hash that the manifest was read with, wherever it is read from.
"""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from functools import partial

import anyio

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.domain.job import ControlFile
from fluxbatch.errors import KeyRefused, RejectedRequest, TransientApiError
from fluxbatch.events import Noticed
from fluxbatch.ledger.operations.uploads import KnownUpload, RecordUpload, find_upload
from fluxbatch.ledger.queries.queue import QueuedJob
from fluxbatch.provider import upload
from fluxbatch.provider.upload import read_control, type_of_control
from fluxbatch.scheduler.lane import Lane
from fluxbatch.sink.store import CONTROLS
from fluxbatch.worker.context import WorkerContext

_AT_ONCE = 4


class UploadCache:
    """Hands out URLs for local control images."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._known: dict[str, KnownUpload] = {}
        self._locks: dict[str, anyio.Lock] = {}
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._other_file = ""
        """One that is here, and not what the manifest was read with."""
        self._is_told_other = False

    async def url_of(self, job: QueuedJob) -> str | None:
        """The URL to send for a local control image; None where the job names a URL itself.

        Raises `RejectedRequest` when the file cannot be used, `TransientApiError` when the
        provider will not have it now.
        """
        if job.control_sha256 is None:
            return None
        lock = self._locks.setdefault(job.control_sha256, anyio.Lock())
        async with lock:
            known = await self._find(job.control_sha256)
            if known is None or self._expires_soon(known):
                known = await self._upload(job)
            self._known[job.control_sha256] = known
        return known.url

    async def _find(self, sha256: str) -> KnownUpload | None:
        known = self._known.get(sha256)
        if known is not None:
            return known
        return await self._context.read(partial(find_upload, sha256=sha256))

    def _expires_soon(self, known: KnownUpload) -> bool:
        """Whether it might be gone before a prediction that is submitted now has read it."""
        if known.expires_at is None:
            return False
        margin = timedelta(seconds=3 * self._context.settings.provider.deadline)
        return known.expires_at < self._context.runtime.clock.now().utc + margin

    async def _upload(self, job: QueuedJob) -> KnownUpload:
        assert job.control_sha256 is not None
        control = ControlFile(job.control_path or "", job.control_sha256, 0, "")
        async with self._places:
            lane, key = self._usable_key()
            client = self._context.clients[key.fingerprint]
            try:
                uploaded = await upload(client, control, self._context.runtime, read=self._read)
            except KeyRefused as exc:
                self._context.lanes.key_out(lane, key, str(exc))
                raise
        self._context.reached()
        if self._other_file and not self._is_told_other:
            self._is_told_other = True
            self._context.events.emit(
                Noticed(
                    f"control image {self._other_file!r} is not what the manifest was read with;"
                    " the copy made then is used. To use it as it is now, name it otherwise"
                )
            )
        await self._context.ledger.apply(
            RecordUpload(
                self._context.runtime.clock.now(),
                job.control_sha256,
                uploaded.file_id,
                uploaded.public_url,
                uploaded.bytes,
                uploaded.mime,
                key.fingerprint,
                uploaded.expires_at,
            )
        )
        return KnownUpload(uploaded.public_url, uploaded.expires_at)

    def _read(self, control: ControlFile) -> tuple[bytes, str]:
        """The file, or its copy in the image store where processes share the dataset. Blocks."""
        try:
            return read_control(control)
        except RejectedRequest as refused:
            if not self._context.is_shared:
                raise
            try:
                content = self._context.images.read_kept_control(control.sha256)
            except FileNotFoundError:
                raise refused from None
            if os.path.lexists(control.path):
                self._other_file = control.path
        if hashlib.sha256(content).hexdigest() != control.sha256:
            raise RejectedRequest(
                f"the copy of control image {control.path!r} in the image store is damaged:"
                f" delete {CONTROLS}/{control.sha256} there, and run again where the file is"
            )
        return content, type_of_control(content, control.path)

    def _usable_key(self) -> tuple[Lane, ApiKey]:
        for lane in self._context.lanes.all:
            for key in lane.keys:
                return lane, key
        raise TransientApiError("no usable key is left for an upload")
