"""Bodies that came encoded, in every way a server has been seen to do it."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import example, given
from hypothesis import strategies as st

from fluxbatch.infra.encodings import inline_content, readings
from tests.support.pictures import picture

PNG = picture("png")
MOST = 1_000_000


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def chunked(content: bytes, sign: str = "") -> bytes:
    parts = [content[:7], content[7:]]
    frames = b"".join(f"{len(p):x}{sign}\r\n".encode() + p + b"\r\n" for p in parts)
    return frames + f"0{sign}\r\n\r\n".encode()


def signed(content: bytes) -> bytes:
    return chunked(content, ";chunk-signature=" + "ab" * 32)


@pytest.mark.parametrize(
    "encode",
    [
        gzip.compress,
        zlib.compress,
        deflated,
        zstd.compress,
        chunked,
        signed,
        base64.b64encode,
        base64.urlsafe_b64encode,
        base64.encodebytes,
        lambda content: gzip.compress(gzip.compress(content)),
        lambda content: chunked(gzip.compress(content)),
    ],
)
def test_what_was_encoded_once_or_twice_is_read_again(encode: Callable[[bytes], bytes]) -> None:
    """
    No header is asked: it is wrong in both directions.
    """
    assert PNG in list(readings(encode(PNG), MOST))


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress, deflated, zstd.compress])
def test_a_bomb_is_no_reading(encode: Callable[[bytes], bytes]) -> None:
    """
    Nothing longer than was asked for is ever made.
    """
    assert list(readings(encode(bytes(MOST + 1)), MOST)) == []
    assert len(next(readings(encode(bytes(MOST)), MOST))) == MOST


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress, zstd.compress, chunked])
def test_half_of_it_is_no_reading(encode: Callable[[bytes], bytes]) -> None:
    """
    The bytes as they came are worth more.
    """
    assert list(readings(encode(PNG)[:-20], MOST)) == []


@given(st.binary(max_size=300))
@example(b"\x1f\x8b")
@example(b"7fffffff\r\n")
@example(b"x\x9c")
def test_any_bytes_have_an_end(content: bytes) -> None:
    """
    Whatever came: bounded, and no error.
    """
    assert all(0 < len(reading) <= 1000 for reading in readings(content, 1000))


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), PNG),
        ("data:;base64,aGVsbG8", None),
        ("DATA:image/png;x=y; base64," + base64.b64encode(PNG).decode(), PNG),
        ("data:image/svg+xml,%3Csvg%2F%3E", b"<svg/>"),
        (base64.b64encode(PNG).decode(), PNG),
        ("https://cdn.example/data:image/png;base64,AAAA", None),
        ("https://cdn.example/" + "A" * 100, None),
    ],
)
def test_an_output_may_hold_its_image_itself(place: str, content: bytes | None) -> None:
    """
    As a `data:` URL or bare base64; an address is none of both.
    """
    assert inline_content(place) == content


@given(st.text(max_size=200))
def test_any_output_is_one_or_the_other(place: str) -> None:
    """
    Whatever it is, no error.
    """
    assert isinstance(inline_content(place), bytes | None)
