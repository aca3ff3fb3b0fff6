"""Whether bytes are a whole image, and which.

Owns the verdict: the type by the first bytes (never by name or Content-Type), the
structure to its end, and every pixel decoded (and looked at, by `looks`). Blocks, and is where
most of the CPU goes. Uses Pillow's format classes by themselves: `Image.open` consults
process-wide settings (its pixel limit, its warnings) that belong to whoever embeds us.
"""

from __future__ import annotations

import io
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

from fluxbatch.sink.looks import UNSEEN, Look, look


class Kind(NamedTuple):
    """A type of image we store."""

    extension: str
    mime: str
    reader: Callable[[IO[bytes]], ImageFile.ImageFile]


class Verdict(NamedTuple):
    """A whole image."""

    kind: Kind
    width: int
    height: int
    verify_s: float
    """CPU seconds the verdict took."""
    look: Look


class NoImage(Exception):
    """Not a whole image; says why."""


class OtherKind(NoImage):
    """Something whole, perhaps, that is no image and never will be: a video, sound, an archive."""


_JPG = Kind("jpg", "image/jpeg", JpegImagePlugin.JpegImageFile)
_PNG = Kind("png", "image/png", PngImagePlugin.PngImageFile)
_WEBP = Kind("webp", "image/webp", WebPImagePlugin.WebPImageFile)
_GIF = Kind("gif", "image/gif", GifImagePlugin.GifImageFile)
_AVIF = Kind("avif", "image/avif", AvifImagePlugin.AvifImageFile)

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

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_HEAD_BYTES = 32
_TAIL_BYTES = 65_536


def verdict(stream: IO[bytes], *, max_pixels: int) -> Verdict:
    """Decode all of *stream*, which stays open; raise `NoImage` for anything less than an image."""
    started = time.thread_time()
    kind = sniffed(stream.read(_HEAD_BYTES))
    _check_end(kind, stream)
    width, height, seen = _decode(kind, stream, max_pixels)
    return Verdict(kind, width, height, time.thread_time() - started, seen)


def sniffed(head: bytes) -> Kind:
    """The type that the first bytes tell."""
    if head.startswith(b"\xff\xd8\xff"):
        return _JPG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WEBP
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return _GIF
    if head[4:12] in {b"ftypavif", b"ftypavis"}:
        return _AVIF
    other = next((what for start, at, what in _OTHERS if head.startswith(start, at)), None)
    if other is not None and head[4:12] not in _STILL:
        raise OtherKind(f"it is {other}, and only images are stored")
    raise NoImage(_what_instead(head))


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


def _check_end(kind: Kind, stream: IO[bytes]) -> None:
    """Decoders forgive a lost end as long as every pixel is there; a stored file must be whole.

    Only png carries checksums: a webp with garbage in its middle is an image like any other.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read()
    stream.seek(0)
    if kind is _JPG:
        whole = tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")  # a thumbnail has an end too
    elif kind is _PNG:
        whole = _PNG_END in tail
    elif kind is _GIF:
        whole = tail.rstrip(b"\0\r\n").endswith(b";")
    elif kind is _WEBP:
        whole = size >= int.from_bytes(head[4:8], "little") + 8
    else:
        return  # avif is read by the lengths of its boxes
    if not whole:
        raise NoImage(f"the {kind.extension} is cut short")


def _decode(kind: Kind, stream: IO[bytes], max_pixels: int) -> tuple[int, int, Look]:
    seen = UNSEEN
    try:
        with kind.reader(stream) as image:
            width, height = image.size
            frames = getattr(image, "n_frames", 1)
            pixels = width * height * frames
            if pixels > max_pixels:
                raise NoImage(
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
    except NoImage:
        raise
    except MemoryError:
        raise NoImage(f"the {kind.extension} does not fit into memory") from None
    except Exception as exc:  # Pillow raises whatever a format's parser trips over
        raise NoImage(
            f"the {kind.extension} cannot be decoded: {type(exc).__name__}: {exc}"
        ) from exc
    return width, height, seen


def _load(image: ImageFile.ImageFile, frames: int) -> Look:
    """Decode every frame; answers how the first one looks."""
    image.load()
    seen = look(image)
    for number in range(1, frames):
        image.seek(number)
        image.load()
    return seen
