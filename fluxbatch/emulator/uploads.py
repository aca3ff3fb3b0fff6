"""Uploaded control images: presigned, put, served, deleted.

Owns the bytes. The presigned URL is as strict as a real one: exact headers, a signature,
15 minutes. Times are UNIX seconds; the core words the replies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}
_MAX_BYTES = 100 * 1024 * 1024


@dataclass(slots=True)
class Upload:
    id: str
    name: str
    content_type: str
    expires_at: float
    content: bytes | None = None
    sha256: str = ""

    @property
    def put_path(self) -> str:
        return f"/_storage/{self.name}"

    @property
    def public_path(self) -> str:
        return f"/files/{self.name}"

    @property
    def required_headers(self) -> dict[str, str]:
        return {"x-amz-meta-file-id": self.id, "x-amz-tagging": "uploader=customer"}


class UploadStore:
    def __init__(self) -> None:
        self._by_id: dict[str, Upload] = {}
        self._by_name: dict[str, Upload] = {}
        self.presigned = self.stored = self.deleted = 0

    def presign(self, upload_id: str, content_type: str, expires_at: float) -> Upload:
        extension = _EXTENSIONS.get(content_type, "bin")
        upload = Upload(upload_id, f"{upload_id}.{extension}", content_type, expires_at)
        self._by_id[upload.id] = self._by_name[upload.name] = upload
        self.presigned += 1
        return upload

    def named(self, name: str) -> Upload | None:
        return self._by_name.get(name)

    def put(self, upload: Upload, headers: Mapping[str, str], body: bytes) -> str | None:
        """Store the bytes; returns why not, if not."""
        required = {**upload.required_headers, "content-type": upload.content_type}
        for name, value in required.items():
            if headers.get(name) != value:
                return f"SignatureDoesNotMatch: header {name!r} must be {value!r}"
        if len(body) > _MAX_BYTES:
            return "EntityTooLarge: 100 MB is the most"
        upload.content = body
        upload.sha256 = hashlib.sha256(body).hexdigest()
        self.stored += 1
        return None

    def served(self, name: str, now: float) -> Upload | None:
        """The upload behind a public URL, if it was put and has not been deleted or expired."""
        upload = self._by_name.get(name)
        if upload is None or upload.content is None or upload.expires_at < now:
            return None
        return upload

    def delete(self, upload_id: str) -> None:
        upload = self._by_id.pop(upload_id, None)
        if upload is not None:
            del self._by_name[upload.name]
            self.deleted += 1
