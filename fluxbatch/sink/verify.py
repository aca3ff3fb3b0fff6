"""The verification of an image: whole or not, and of which type.

Owns the verdict: the type by the first bytes (never by name or Content-Type), the end
by the last ones, and every pixel decoded (and assessed, by `quality`). Blocks, and is where
most of the CPU goes. Uses Pillow's format classes by themselves: `Image.open` consults
process-wide settings (its pixel limit, its warnings) that belong to whoever embeds us.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, NamedTuple

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from fluxbatch.infra.image_type import HEAD_BYTES, is_complete, sniff
from fluxbatch.sink.quality import UNSEEN, ImageQuality, assess


class ImageKind(NamedTuple):
    """A type of image we store."""

    extension: str
    mime: str
    reader: Callable[[IO[bytes]], ImageFile.ImageFile]


class VerifiedImage(NamedTuple):
    """A whole image."""

    kind: ImageKind
    width: int
    height: int
    verify_s: float
    """CPU seconds the verdict took."""
    look: ImageQuality


class InvalidImage(Exception):
    """Not a whole image; says why."""


class NotAnImage(InvalidImage):
    """Something whole, perhaps, that is no image and never will be: a video, sound, an archive."""


_JPG = ImageKind("jpg", "image/jpeg", JpegImagePlugin.JpegImageFile)
_PNG = ImageKind("png", "image/png", PngImagePlugin.PngImageFile)
_WEBP = ImageKind("webp", "image/webp", WebPImagePlugin.WebPImageFile)
_GIF = ImageKind("gif", "image/gif", GifImagePlugin.GifImageFile)
_AVIF = ImageKind("avif", "image/avif", AvifImagePlugin.AvifImageFile)
_KINDS = {kind.mime: kind for kind in (_JPG, _PNG, _WEBP, _GIF, _AVIF)}

ENDINGS = tuple(kind.extension for kind in (_WEBP, _JPG, _PNG, _AVIF, _GIF))
"""Of every file that is an image of ours."""

_OTHERS = (
    (b"ftyp", 4, "an MP4 video"),
    (b"\x1a\x45\xdf\xa3", 0, "a WebM video"),
    (b"AVI ", 8, "an AVI video"),
    (b"WAVE", 8, "a WAV sound"),
    (b"OggS", 0, "an Ogg sound"),
    (b"fLaC", 0, "a FLAC sound"),
    (b"ID3", 0, "an MP3 sound"),
    (b"%PDF-", 0, "a PDF"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"glTF", 0, "a 3D model"),
)
"""First bytes of what models make beside images, and where they stand."""
_STILL = frozenset({b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"})
"""Images in a video's box; that we cannot read them is another matter."""


def verify(stream: IO[bytes], *, max_pixels: int) -> VerifiedImage:
    """Decode all of *stream*, which stays open.

    Raises `InvalidImage` for anything less than an image.
    """
    started = time.thread_time()
    kind = sniffed(stream.read(HEAD_BYTES))
    # Only png carries checksums: a webp with garbage in its middle is an image like any other.
    if not is_complete(kind.mime, stream):
        raise InvalidImage(f"the {kind.extension} is cut short")
    width, height, seen = _decode(kind, stream, max_pixels)
    return VerifiedImage(kind, width, height, time.thread_time() - started, seen)


def sniffed(head: bytes) -> ImageKind:
    """The type that the first bytes show."""
    mime = sniff(head)
    if mime is not None:
        return _KINDS[mime]
    other = next((what for start, at, what in _OTHERS if head.startswith(start, at)), None)
    if other is not None and head[4:12] not in _STILL:
        raise NotAnImage(f"it is {other}, and only images are stored")
    raise InvalidImage(_what_instead(head))


def _what_instead(head: bytes) -> str:
    if not head:
        return "it is empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "it is an HTML page"
    if text.startswith((b"{", b"[")):
        return "it is JSON"
    if text.startswith(b"<"):
        return "it is XML"
    return "it is no image of a known type"


def _decode(kind: ImageKind, stream: IO[bytes], max_pixels: int) -> tuple[int, int, ImageQuality]:
    seen = UNSEEN
    try:
        with kind.reader(stream) as image:
            width, height = image.size
            frames = getattr(image, "n_frames", 1)
            pixels = width * height * frames
            if pixels > max_pixels:
                raise InvalidImage(
                    f"{pixels:,} pixels, more than sink.max_pixels allows ({max_pixels:,})"
                )
            if kind is _PNG:
                image.verify()  # every chunk's checksum; spends the object
            else:
                seen = _load(image, frames)
        if kind is _PNG:
            stream.seek(0)
            with kind.reader(stream) as image:
                seen = _load(image, frames)
    except InvalidImage:
        raise
    except MemoryError:
        raise InvalidImage(f"the {kind.extension} does not fit into memory") from None
    except Exception as exc:  # Pillow raises whatever a format's parser raises
        raise InvalidImage(
            f"the {kind.extension} cannot be decoded: {type(exc).__name__}: {exc}"
        ) from exc
    return width, height, seen


def _load(image: ImageFile.ImageFile, frames: int) -> ImageQuality:
    """Decode every frame; answers how the first one looks."""
    image.load()
    seen = assess(image)
    for number in range(1, frames):
        image.seek(number)
        image.load()
    return seen
