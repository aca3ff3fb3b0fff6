"""The upload of one local control image to the provider's storage.

Owns the check that what is sent is the image the manifest named: a file may have changed
since it was read, and a file named `.png` may hold anything.
Source: docs/design/provider-api.md "Uploads".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO

from fluxbatch.domain.job import ControlFile
from fluxbatch.errors import RejectedRequest
from fluxbatch.infra.image_type import HEAD_BYTES, is_complete, sniff
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.infra.runtime import Runtime
from fluxbatch.provider.client import ProviderClient
from fluxbatch.provider.read_retry import RetryPolicy, retry

MAX_CONTROL_BYTES = 50_000_000
_MIMES = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An image at the provider's storage."""

    file_id: str
    public_url: str
    expires_at: datetime | None
    bytes: int
    mime: str


ReadControl = Callable[[ControlFile], tuple[bytes, str]]
"""The bytes of a control image and what they are. Blocks."""


async def upload(
    client: ProviderClient,
    control: ControlFile,
    runtime: Runtime,
    patience: RetryPolicy = RetryPolicy(),  # noqa: B008  frozen
    read: ReadControl | None = None,
) -> Uploaded:
    """Send *control*; each try gets a fresh presigned URL, since they live minutes only.

    Raises `RejectedRequest` when the file is missing, no image, too large or not what the
    manifest named any more; `TransientApiError` and its kin when the provider is at fault.
    """
    content, mime = await runtime.to_thread(partial(read or read_control, control))

    async def once() -> Uploaded:
        place = await client.presign(mime)
        await client.put(place, content, mime)
        return Uploaded(place.file_id, place.public_url, place.expires_at, len(content), mime)

    return await retry(once, patience, runtime.random)


def read_control(control: ControlFile) -> tuple[bytes, str]:
    """The bytes of a control image and what they are. Blocks."""
    try:
        with open_regular(control.path) as file:
            content = file.read(MAX_CONTROL_BYTES + 1)
    except OSError as exc:
        raise RejectedRequest(
            f"cannot read control image {control.path!r}: {exc.strerror}"
        ) from exc
    if len(content) > MAX_CONTROL_BYTES:
        raise RejectedRequest(
            f"control image {control.path!r} has more than the {MAX_CONTROL_BYTES:,} bytes that"
            " the provider takes"
        )
    if hashlib.sha256(content).hexdigest() != control.sha256:
        raise RejectedRequest(
            f"control image {control.path!r} has changed since the manifest was read;"
            " run again to use it as it is now"
        )
    return content, type_of_control(content, control.path)


def type_of_control(content: bytes, path: str) -> str:
    """What the manifest took it for, by the same first and last bytes.

    A decoder is not asked here: what the plan accepted is the same bytes, and one that reads a
    phone's second picture or an odd profile otherwise would refuse a run what was planned.
    """
    mime = sniff(content[:HEAD_BYTES])
    is_whole = (
        b"IEND" in content if mime == "image/png" else is_complete(mime or "", BytesIO(content))
    )
    if mime not in _MIMES or not is_whole:
        raise RejectedRequest(f"control image {path!r} is no readable jpeg, png or webp")
    return mime
