"""The verification of images: which bytes are a whole one."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fluxbatch.sink.verify import InvalidImage, VerifiedImage, verify
from tests.support.pictures import animation, picture

KINDS = ["jpg", "png", "webp", "gif", "avif"]
PICTURES = {kind: picture(kind) for kind in KINDS}
ANIMATIONS = {kind: animation(kind) for kind in ("gif", "webp", "png")}


def seen(content: bytes, max_pixels: int = 1_000_000) -> VerifiedImage:
    return verify(io.BytesIO(content), max_pixels=max_pixels)


@pytest.mark.parametrize(
    ("kind", "mime"),
    [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
    ],
)
def test_a_whole_image_is_known_by_its_bytes(kind: str, mime: str) -> None:
    """
    Its type, its size, and what the look cost.
    """
    found = seen(PICTURES[kind])
    assert (found.kind.extension, found.kind.mime) == (kind, mime)
    assert (found.width, found.height) == (24, 24)
    assert found.verify_s > 0


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_no_image_that_is_cut_short_passes(kind: str, data: st.DataObject) -> None:
    """
    Wherever it is cut, to the last byte: decoders forgive more than a dataset may.
    """
    whole = PICTURES[kind]
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InvalidImage):
        seen(whole[:length])


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "gif"])
@pytest.mark.parametrize("missing", [1, 2, 3, 4, 8, 12, 16])
def test_the_last_bytes_count_too(kind: str, missing: int) -> None:
    """
    An end mark, a checksum: every pixel may be there without them.
    """
    with pytest.raises(InvalidImage):
        seen(PICTURES[kind][:-missing])


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 5}, {"quality": 100}])
def test_no_jpeg_of_any_making_that_is_cut_short_passes(options: dict[str, Any]) -> None:
    """
    A progressive one has every pixel, coarsely, long before its end.
    """
    whole = picture("jpg", side=40, **options)
    assert seen(whole).width == 40
    for length in range(0, len(whole), 7):
        with pytest.raises(InvalidImage):
            seen(whole[:length])


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_zeros_in_place_of_the_end_are_no_image(kind: str) -> None:
    """
    A download of the right length whose second half never came.
    """
    whole = PICTURES[kind]
    half = len(whole) // 2
    with pytest.raises(InvalidImage):
        seen(whole[:half] + bytes(len(whole) - half))


@pytest.mark.parametrize("kind", sorted(ANIMATIONS))
def test_every_frame_of_an_animation_is_decoded(kind: str) -> None:
    """
    The frames after the first can be broken too.
    """
    whole = ANIMATIONS[kind]
    assert seen(whole).width == 16
    with pytest.raises(InvalidImage):
        seen(whole[: len(whole) - 400])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html></html>", "it is an HTML page"),
        (b"\n <html>", "it is an HTML page"),
        (b'<?xml version="1.0"?><Error/>', "it is XML"),
        (b'{"error": "expired"}', "it is JSON"),
        (b"%PDF-1.7", "a PDF, and only images are stored"),
        (b"\x00\x00\x00\x18ftypmp42", "an MP4 video, and only images are stored"),
        (b"\x00\x00\x00\x18ftypheic", "no image of a known type"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a WAV sound, and only images are stored"),
        (b"BM" + bytes(60), "no image of a known type"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, why: str) -> None:
    """
    The reason tells people what the server sent instead.
    """
    with pytest.raises(InvalidImage, match=why):
        seen(content)


def test_more_pixels_than_allowed_are_not_decoded() -> None:
    """
    A small file can unpack to gigabytes; its own header is asked first.
    """
    out = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(out, format="png")
    assert len(out.getvalue()) < 20_000
    with pytest.raises(InvalidImage, match=r"81,000,000 pixels, more than sink\.max_pixels"):
        seen(out.getvalue())


def test_the_limit_is_ours_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever embeds us may have set Pillow's own; `sink.max_pixels` alone decides.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert seen(PICTURES["png"]).width == 24


def test_nobody_told_pillow_to_load_what_is_truncated() -> None:
    """
    That switch is global; with it, cut images would pass.
    """
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@given(st.sampled_from(KINDS), st.binary(max_size=400), st.integers(0, 200))
def test_no_bytes_whatever_break_the_look(kind: str, noise: bytes, at: int) -> None:
    """
    A verdict or `InvalidImage`, whatever Pillow trips over.
    """
    spoilt = PICTURES[kind][:at] + noise + PICTURES[kind][at + len(noise) :]
    with contextlib.suppress(InvalidImage):
        assert seen(spoilt).width > 0


def _png(header: bytes, data: bytes) -> bytes:
    """A png of these two chunks, their checksums right."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("depth", "colour", "bits"), [(8, 2, 24), (1, 0, 1), (16, 6, 64)])
def test_a_png_whose_pixel_data_end_early_is_no_image(
    interlaced: int, depth: int, colour: int, bits: int
) -> None:
    """
    Its chunks are whole and its end mark stands: a reader shows the rest black.
    """
    side = 37
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)) if interlaced else ((0, 0, 1, 1),)  # fmt: skip
    rows = b"".join(
        bytes(1 + (len(range(left, side, across)) * bits + 7) // 8)
        for left, top, across, down in starts
        for _ in range(top, side, down)
    )
    assert seen(_png(header, zlib.compress(rows))).width == side
    with pytest.raises(InvalidImage, match="end before its last row"):
        seen(_png(header, zlib.compress(rows[:-1])))
