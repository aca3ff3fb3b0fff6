"""Metadata within a file: every pixel and everything else it held stays as it was."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from fluxbatch.domain.provenance import as_embedded, read_facts
from fluxbatch.sink.metadata import embedded, embedded_facts
from fluxbatch.sink.verify import verify
from tests.support.pictures import animation, picture

SIDE = 31
FACTS = as_embedded(
    {"fluxbatch": 1, "job": "ab" * 16, "prompt": 'a <b>&amp; "c" ]]> ü 猫 \ud800 \0 --> ?>'}
)
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    b' rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:source>elsewhere</dc:source>'
    b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def drawn(mode: str) -> Image.Image:
    """Noise, so that no two pixels look alike."""
    bands = Image.frombytes("RGBA", (SIDE, SIDE), Random(7).randbytes(SIDE * SIDE * 4))
    return bands.convert("RGB").quantize(64) if mode == "P" else bands.convert(mode)


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    drawn(mode).save(out, kind, **options)
    return out.getvalue()


def exif() -> bytes:
    told = Image.Exif()
    told[0x010E] = "somebody else's words"
    return told.tobytes()


ICC = b"not read by anybody here" * 30
FILES = {
    "png": saved("png"),
    "png, alpha": saved("png", "RGBA"),
    "png, palette": saved("png", "P"),
    "png, palette with one clear": saved("png", "P", transparency=3),
    "png, grey": saved("png", "L"),
    "png, all of it": saved("png", "RGBA", exif=exif(), icc_profile=ICC, dpi=(72, 72)),
    "png, animated": animation("png"),
    "jpg": saved("jpeg"),
    "jpg, progressive": saved("jpeg", progressive=True),
    "jpg, grey": saved("jpeg", "L"),
    "jpg, cmyk": saved("jpeg", "CMYK"),
    "jpg, exif": saved("jpeg", exif=exif()),
    "jpg, icc": saved("jpeg", icc_profile=ICC),
    "jpg, xmp": saved("jpeg", xmp=XMP),
    "jpg, all of it": saved("jpeg", exif=exif(), icc_profile=ICC, xmp=XMP, comment=b"hello"),
    "webp": saved("webp"),
    "webp, lossless": saved("webp", lossless=True),
    "webp, lossless with alpha": saved("webp", "RGBA", lossless=True),
    "webp, lossy with alpha": saved("webp", "RGBA"),
    "webp, animated": animation("webp"),
    "webp, exif": saved("webp", exif=exif()),
    "webp, xmp": saved("webp", xmp=XMP),
    "webp, all of it": saved("webp", "RGBA", exif=exif(), icc_profile=ICC, xmp=XMP),
    "webp, with something behind it": saved("webp") + b"behind",
}


def frames(content: bytes) -> list[tuple[str, tuple[int, int], bytes, object]]:
    """Every frame: mode, size, pixels and how long it is shown."""
    with Image.open(io.BytesIO(content)) as image:
        return [
            (frame.mode, frame.size, frame.convert("RGBA").tobytes(), frame.info.get("duration"))
            for frame in ImageSequence.Iterator(image)
        ]


def said(content: bytes) -> dict[str, object]:
    """What it says beside its pixels; its XMP without our words."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        exif = dict(image.getexif())
        info = dict(image.info)
    for name in ("xmp", "fluxbatch", "XML:com.adobe.xmp"):
        info.pop(name, None)
    return {"exif": exif, "info": info}


def told(content: bytes) -> list[dict[str, str | None]]:
    """The descriptions of its XMP packet, as any reader of XML finds them."""
    with Image.open(io.BytesIO(content)) as image:
        packet = image.info["xmp"]
    return [
        {field.tag.rpartition("}")[2]: field.text for field in description}
        for description in ElementTree.fromstring(packet).iter()
        if description.tag.endswith("}Description")
    ]


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_facts_get_in_and_out_and_no_pixel_moves(content: bytes) -> None:
    """
    Decoded before and after, every frame is the same to the last bit, and all else it said.
    """
    filled = embedded(content, FACTS)

    assert filled is not None
    assert embedded_facts(content) is None
    assert embedded_facts(filled) == FACTS
    assert read_facts(embedded_facts(filled) or "") == json.loads(FACTS)
    assert frames(filled) == frames(content)
    assert said(filled) == said(content)
    before, after = (verify(io.BytesIO(c), max_pixels=10_000) for c in (content, filled))
    assert (after.kind, after.width, after.height) == (before.kind, before.width, before.height)
    assert after.look == before.look


@pytest.mark.parametrize("name", ["jpg, all of it", "webp, all of it"])
def test_a_packet_that_is_there_already_keeps_its_words(name: str) -> None:
    """
    One packet holds both, as the formats want it, and other tools still read theirs.
    """
    filled = embedded(FILES[name], FACTS)

    assert filled is not None
    assert filled.count(b"<x:xmpmeta") == 1
    assert told(filled) == [{"source": "elsewhere"}, {"facts": FACTS}]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("jpg", "webp"))])
def test_other_tools_read_the_packet(name: str) -> None:
    """
    It is well-formed XML, whatever the prompt holds.
    """
    filled = embedded(FILES[name], FACTS)
    assert filled is not None
    assert told(filled)[-1] == {"facts": FACTS}


def test_png_texts_are_read_by_other_tools() -> None:
    """
    As a text of its own, by keyword; the chunk's checksum is right, or Pillow would refuse it.
    """
    filled = embedded(FILES["png"], FACTS)
    assert filled is not None
    with Image.open(io.BytesIO(filled)) as image:
        image.verify()
    with Image.open(io.BytesIO(filled)) as image:
        assert image.info["fluxbatch"] == FACTS
    assert filled.index(b"iTXt") < filled.index(b"IDAT")


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < 8 + int.from_bytes(content[4:8], "little"):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


@pytest.mark.parametrize(
    ("name", "alpha"),
    [("webp", False), ("webp, lossless", False), ("webp, lossless with alpha", True)],
)
def test_a_simple_webp_becomes_an_extended_one(name: str, *, alpha: bool) -> None:
    """
    Its header says canvas, alpha and XMP, and comes first; the picture's own chunk is unchanged.
    """
    simple, filled = FILES[name], embedded(FILES[name], FACTS)
    assert filled is not None
    (header, body), *rest = chunks(filled)
    flags, canvas = body[0], body[4:]

    assert header == b"VP8X"
    assert len(filled) == 8 + int.from_bytes(filled[4:8], "little")
    assert (bool(flags & 0x10), bool(flags & 0x04), flags & ~0x14) == (alpha, True, 0)
    assert canvas == (SIDE - 1).to_bytes(3, "little") * 2
    assert [n for n, _ in rest] == [next(chunks(simple))[0], b"XMP "]
    assert rest[0] == next(chunks(simple))


def test_a_jpgs_segments_stand_in_the_usual_order() -> None:
    """
    JFIF, EXIF, then ours, then colours: some readers look nowhere else.
    """
    filled = embedded(saved("jpeg", exif=exif(), icc_profile=ICC), FACTS)
    assert filled is not None
    marks = [b"JFIF\0", b"Exif\0", b"http://ns.adobe.com/xap", b"ICC_PROFILE\0", b"\xff\xdb"]
    places = [filled.index(mark) for mark in marks if mark in filled]
    assert len(places) >= len(marks) - 1
    assert all(before < after for before, after in pairwise(places))


@pytest.mark.parametrize(
    "content",
    [
        picture("gif"),
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\xff\xff short",
        b"RIFF\x04\0\0\0WEBP",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"RIFF" + struct.pack("<I", 18) + b"WEBPABCD" + struct.pack("<I", 6) + b"abcdef",
        saved("jpeg", xmp=XMP.replace(b"rdf:RDF", b"r:RDF")),
        saved("webp", xmp=b"no packet at all"),
    ],
    ids=range(10),
)
def test_what_cannot_take_them_is_left_alone(content: bytes) -> None:
    """
    Another format, a broken file, or a packet that nobody can add to safely.
    """
    assert embedded(content, FACTS) is None
    assert embedded_facts(content) is None


@pytest.mark.parametrize(("name", "fits"), [("jpg", False), ("png", True), ("webp", True)])
def test_a_jpgs_segment_ends_at_64_kilobytes(name: str, *, fits: bool) -> None:
    """
    The other two have no such end.
    """
    long = as_embedded({"fluxbatch": 1, "job": "a", "prompt": "x" * 70_000})
    assert (embedded(FILES[name], long) is not None) is fits
    most = as_embedded({"fluxbatch": 1, "job": "a", "prompt": "x" * 64_500})
    filled = embedded(FILES[name], most)
    assert filled is not None
    assert frames(filled) == frames(FILES[name])


@given(st.sampled_from(["png", "jpg", "webp"]), st.text(max_size=200), st.text(max_size=50))
def test_any_words_come_back_as_they_were(name: str, prompt: str, word: str) -> None:
    """
    Markup, halves of surrogate pairs, control characters and all.
    """
    facts = {"fluxbatch": 1, "job": "a", "prompt": prompt, "input": {word: [prompt, 1.5, None]}}
    filled = embedded(FILES[name], as_embedded(facts))
    assert filled is not None
    assert read_facts(embedded_facts(filled) or "") == facts


@given(st.sampled_from(sorted(FILES)), st.integers(0, 10_000), st.binary(max_size=8))
def test_a_damaged_file_raises_nothing(name: str, at: int, junk: bytes) -> None:
    """
    Whatever bytes are in the way: it takes them or is left alone.
    """
    content = FILES[name]
    at %= len(content)
    broken = content[:at] + junk + content[at + len(junk) :]
    for given_bytes in (broken, content[:at]):
        filled = embedded(given_bytes, FACTS)
        if filled is not None:
            assert len(filled) > len(given_bytes)
        embedded_facts(given_bytes)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\x08\x12\x7a\0WEBPXMP \xfc\x11\x7a\0" + b"<fluxbatch:facts>" * 470_588,
        b"\xff\xd8" + b"\xff" * 30_000_000,
        b"\xff\xd8" + b"\xff\xe5\0\2" * 10_000_000,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000_000,
        b"RIFF\xfc\xff\xff\x04WEBP" + b"\0" * 0x4FFFFF8,
    ],
    ids=["starts without an end", "fill bytes", "segments", "chunks of a png", "of a webp"],
)
def test_a_file_made_to_take_for_ever_is_soon_given_up(content: bytes) -> None:
    """
    Millions of empty parts, or facts that begin again and again: nothing of ours, and at once.
    """
    assert embedded_facts(content) is None
    if not content.startswith(b"\x89PNG"):
        assert embedded(content, FACTS) is None
