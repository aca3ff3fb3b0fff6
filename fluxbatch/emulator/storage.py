"""The storage behind the provider's file URLs: uploads in, images out.

Owns the signed URLs and the download faults. An image is handed on as a `Picture`, not
painted here: painting is slow and belongs to whoever carries the reply out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fluxbatch.emulator.clock import ProviderClock
from fluxbatch.emulator.fault_replies import HOLD, RESET
from fluxbatch.emulator.faults import FaultBook
from fluxbatch.emulator.messages import Picture, Reply, WireFault, html_page
from fluxbatch.emulator.prediction import EmulatedPrediction, State
from fluxbatch.emulator.settings import EmulatorSettings
from fluxbatch.emulator.signing import Signer
from fluxbatch.emulator.uploads import UploadStore

_RETENTION_S = 180 * 86_400.0
_TRUNCATED_SHARE = 0.6
_CLIP = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(2_000)
"""As much of a video as anybody looks at here."""
_CONTENT_TYPES = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


class Storage:
    def __init__(
        self, settings: EmulatorSettings, clock: ProviderClock, faults: FaultBook, secret: bytes
    ) -> None:
        self.origin = ""
        """Scheme, host and port of every URL given out; set once the server listens."""
        self.uploads = UploadStore()
        self.downloads = 0
        self._settings = settings
        self._clock = clock
        self._faults = faults
        self._signer = Signer(secret)

    def urls(self, prediction: EmulatedPrediction) -> list[str]:
        """Freshly signed URLs of a success's images; nothing for anything else."""
        if prediction.state is not State.SUCCEEDED:
            return []
        expires_at = self._unix() + self._seconds("output_ttl")
        return [
            self._signed(f"/outputs/{prediction.id}/{n}.{prediction.output_format}", expires_at)
            for n in range(prediction.output_count)
        ]

    def presign(self, upload_id: str, content_type: str, retention_s: float | None) -> Reply:
        now = self._unix()
        kept_s = (retention_s or _RETENTION_S) / self._settings.speed
        upload = self.uploads.presign(upload_id, content_type, now + kept_s)
        return Reply(
            200,
            {
                "id": upload.id,
                "presigned_url": self._signed(upload.put_path, now + self._seconds("presign_ttl")),
                "public_url": self.origin + upload.public_path,
                "expires_at": self._clock.stamp(self._clock.now() + kept_s),
                "required_headers": upload.required_headers,
            },
        )

    def put(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        upload = self.uploads.named(path.removeprefix("/_storage/"))
        if upload is None:
            return _xml_error(404, "NoSuchKey", "The upload does not exist")
        refusal = self._signer.refusal(path, query, self._unix())
        if refusal is not None:
            return _xml_error(403, "AccessDenied", refusal)
        if self._faults.strikes("put_403"):
            return _xml_error(403, "SignatureDoesNotMatch", "Check your key and signing method")
        if self._faults.strikes("put_500"):
            return _xml_error(500, "InternalError", "We encountered an internal error")
        problem = self.uploads.put(upload, headers, body)
        return Reply(200, b"") if problem is None else _xml_error(403, "AccessDenied", problem)

    def file(self, name: str) -> Reply:
        upload = self.uploads.served(name, self._unix())
        if upload is None or upload.content is None:
            return _xml_error(404, "NoSuchKey", "The file does not exist")
        return Reply(200, upload.content, content_type=upload.content_type)

    def control_of(self, values: Mapping[str, Any]) -> tuple[tuple[str, bytes] | None, bool]:
        """The uploaded control image of an input, and whether it should exist but doesn't."""
        url = str(values.get("control_image") or values.get("input_image") or "")
        prefix = f"{self.origin}/files/"
        if not self.origin or not url.startswith(prefix):
            return None, False
        upload = self.uploads.served(url.removeprefix(prefix), self._unix())
        if upload is None or upload.content is None:
            return None, True
        return (upload.sha256, upload.content), False

    def download(
        self, path: str, query: Mapping[str, str], prediction: EmulatedPrediction | None
    ) -> Reply:
        """One image of *prediction*, whom the caller found by the id in *path*."""
        self.downloads += 1
        if "hop" in query:
            return Reply(302, b"", {"Location": f"{path}?hop={int(query['hop']) + 1}"})
        refusal = self._signer.refusal(path, query, self._unix())
        if refusal is not None:
            return _xml_error(403, "AccessDenied", refusal)
        index = path.rpartition("/")[2].partition(".")[0]
        if prediction is None or not index.isdecimal():
            return _xml_error(404, "NoSuchKey", "The file does not exist")
        if prediction.output_format == "mp4":
            return Reply(200, _CLIP, content_type="video/mp4")
        reply = Reply(
            200,
            self._picture(prediction, int(index)),
            content_type=_CONTENT_TYPES[prediction.output_format],
        )
        fault = self._faults.pick("download", prediction.prompt)
        if fault == "download_redirect" and "moved" not in query:
            moved = "&".join(f"{name}={value}" for name, value in query.items())
            return Reply(302, b"", {"Location": f"{path}?{moved}&moved=1"})
        return reply if fault is None else _spoiled(fault, reply, path)

    def _picture(self, prediction: EmulatedPrediction, index: int) -> Picture:
        values = prediction.input
        name, content = prediction.control or (values.get("control_image"), None)
        return Picture(
            prompt=prediction.prompt,
            seed=prediction.seed,
            index=index,
            format=prediction.output_format,
            quality=int(values.get("output_quality", 80)),
            megapixels=float(values.get("megapixels", "1")),
            size=self._settings.image_size,
            control_name=name,
            control=content,
        )

    def _signed(self, path: str, expires_at: float) -> str:
        return f"{self.origin}{path}?{self._signer.query(path, expires_at)}"

    def _seconds(self, knob: str) -> float:
        return self._faults.knob(knob) / self._settings.speed

    def _unix(self) -> float:
        return self._clock.unix(self._clock.now())


def _spoiled(fault: str, reply: Reply, path: str) -> Reply:
    assert isinstance(reply.body, Picture)
    match fault:
        case "download_truncated":
            return reply.with_fate(WireFault(body_share=_TRUNCATED_SHARE))
        case "download_truncated_short":
            return replace(reply, body=replace(reply.body, kept_share=_TRUNCATED_SHARE))
        case "download_html_200":
            return html_page(200, "Please sign in")
        case "download_zero":
            return replace(reply, body=b"")
        case "download_wrong_type":
            return replace(reply, body=replace(reply.body, format="gif"))
        case "download_drip":
            return reply.with_fate(WireFault(ending="drip"))
        case "download_timeout":
            return HOLD
        case "download_reset":
            return RESET
        case "download_redirect_loop":
            return Reply(302, b"", {"Location": f"{path}?hop=1"})
        case "download_redirect_private":
            return Reply(302, b"", {"Location": "http://10.0.0.1/latest/meta-data/"})
        case "download_403_expired":
            return _xml_error(403, "AccessDenied", "Request has expired")
        case "download_404":
            return _xml_error(404, "NoSuchKey", "The file does not exist")
        case "download_500":
            return _xml_error(500, "InternalError", "We encountered an internal error")
        case _:
            return reply


def _xml_error(status: int, code: str, message: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, body.encode(), content_type="application/xml")
