"""The verification of an image: whole or not, and of which type.

Owns the verdict: the type by the first bytes (never by name or Content-Type), the end
by the last ones, and every pixel decoded (and looked at, by `quality`): here where that is sure to
be cheap, else in a process that can be stopped. Blocks, and is where most of the CPU goes. Uses
Pillow's format classes by themselves: `Image.open` consults process-wide settings (its pixel limit,
its warnings) that belong to whoever embeds us.
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

from fluxbatch.domain.job import Quality
from fluxbatch.infra.image_type import HEAD_BYTES, is_complete, sniff
from fluxbatch.sink.decode_process import TOO_LARGE, processes
from fluxbatch.sink.image_bounds import (
    MAX_FRAMES,
    MAX_SCANS,
    ORDINARY_PIXELS,
    gif_extent,
    is_ordinary,
    memory_for,
    scans_of,
)
from fluxbatch.sink.png_data import has_all_rows
from fluxbatch.sink.quality import ImageQuality, assess


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


class UnknownKind(InvalidImage):
    """It does not begin like anything known: another reading of it may be an image."""


class TooMuch(InvalidImage):
    """An image, perhaps, that would cost too much to decode; it will never cost less."""


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
    found, elsewhere_s = _decoded(kind, stream, max_pixels)
    took_s = time.thread_time() - started + elsewhere_s
    return VerifiedImage(kind, found.width, found.height, took_s, found.look)


def kind_of_mime(mime: str) -> ImageKind:
    """One of those stored."""
    return _KINDS[mime]


def sniffed(head: bytes) -> ImageKind:
    """The type that the first bytes show."""
    mime = sniff(head)
    if mime is not None:
        return _KINDS[mime]
    other = next((what for start, at, what in _OTHERS if head.startswith(start, at)), None)
    if other is not None and head[4:12] not in _STILL:
        raise NotAnImage(f"it is {other}, and only images are stored")
    raise UnknownKind(_what_instead(head))


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


class Decoded(NamedTuple):
    """What decoding all of an image found."""

    width: int
    height: int
    look: ImageQuality


class _Extraordinary(Exception):
    """Its header tells that it is not to be decoded here."""


def _decoded(kind: ImageKind, stream: IO[bytes], max_pixels: int) -> tuple[Decoded, float]:
    """Decode it here if that is sure to be cheap, else where it can be stopped; with the CPU
    seconds that another process took."""
    if is_ordinary(kind.mime, stream):
        try:
            return decode(kind, stream, max_pixels, None), 0.0
        except _Extraordinary:
            stream.seek(0)
    answer = processes.ask({"mime": kind.mime, "max_pixels": max_pixels}, stream.read())
    if answer.found is None:
        raise (TooMuch if answer.is_final else InvalidImage)(answer.failure)
    width, height = answer.found["size"]
    dhash, notes = answer.found["look"]
    look_of_it = ImageQuality(dhash, tuple(map(Quality, notes)))
    return Decoded(width, height, look_of_it), answer.found["cpu_s"]


def decode(
    kind: ImageKind,
    stream: IO[bytes],
    max_pixels: int,
    bound_memory: Callable[[int], None] | None,
) -> Decoded:
    """Decode every pixel of every frame; raise `InvalidImage`.

    *bound_memory* is told before the first one how much memory that may take; None: nobody bounds
    it, and what might take much raises `_Extraordinary`.
    """
    try:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if kind is _JPG and bound_memory is not None and scans_of(stream) > MAX_SCANS:
            raise TooMuch(f"the jpg has more than {MAX_SCANS} scans")
        extent = gif_extent(stream) if kind is _GIF else (0, 0, 1)
        with kind.reader(stream) as image:
            width, height = image.size
            frames = max(getattr(image, "n_frames", 1), extent[2])
            canvas = max(width, extent[0]) * max(height, extent[1])
            _refuse_cost(canvas, frames, max_pixels)
            if bound_memory is not None:
                bound_memory(memory_for(canvas, size))
            elif frames > 1 or canvas > ORDINARY_PIXELS:
                raise _Extraordinary
            if kind is _PNG:
                image.verify()  # every chunk's checksum; spends the object
            else:
                return Decoded(width, height, _load(image, frames))
        if not has_all_rows(stream):
            raise InvalidImage("the png's pixel data end before its last row")
        with kind.reader(stream) as image:
            return Decoded(width, height, _load(image, frames))
    except (InvalidImage, _Extraordinary):
        raise
    except MemoryError:
        raise TooMuch(f"the {kind.extension} {TOO_LARGE}") from None
    except Exception as exc:  # Pillow raises whatever a format's parser trips over
        raise InvalidImage(
            f"the {kind.extension} cannot be decoded: {type(exc).__name__}: {exc}"
        ) from exc


def _refuse_cost(canvas: int, frames: int, max_pixels: int) -> None:
    """By what its header says; what it needs beyond that is the process's to bound."""
    if canvas * frames > max_pixels:
        raise TooMuch(
            f"{canvas * frames:,} pixels, more than sink.max_pixels allows ({max_pixels:,})"
        )
    if frames > MAX_FRAMES:
        raise TooMuch(f"it has more than {MAX_FRAMES:,} frames")


def _load(image: ImageFile.ImageFile, frames: int) -> ImageQuality:
    """Decode every frame; answers how the first one looks."""
    image.load()
    seen = assess(image)
    for number in range(1, frames):
        image.seek(number)
        image.load()
    return seen
