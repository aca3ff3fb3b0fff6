"""Metadata inside an image's file: a text chunk of a png, an XMP packet of a jpg or a webp.

Owns the containers' bytes, in and out. No pixel is touched: what was delivered stays as it was,
byte by byte, and something is put in between. What cannot take it as the format's own rules say is
left alone, and the caller informed; so is what somebody has signed, for a byte more and the
signature is broken. Sources: PNG 11.3.3.4 (iTXt), XMP part 3 (jpg: APP1; png and webp), the WebP
container specification (VP8X), C2PA 2.2 A.3 (png: caBX, jpg: APP11, webp: C2PA).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from html import escape, unescape
from typing import NamedTuple

KEYWORD = "fluxbatch"
_NAMESPACE = "https://fluxbatch.invalid/facts/1/"

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = len(_PNG) + 25
_XMP_IN_JPG = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF_IN_JPG = b"Exif\0\0"
_SEGMENT_BYTES = 65_533
"""Of a JPEG segment, its length's own two bytes not counted."""
_XMP_IN_PNG = b"XML:com.adobe.xmp\0"
_JUMBF = b"jumb"
_ELSEWHERE = b"dcterms:provenance"
"""In XMP: where the manifest of a signed file is, if not in the file itself."""
_RDF_END = b"</rdf:RDF>"
_FACTS_START, _FACTS_END = b"<fluxbatch:facts>", b"</fluxbatch:facts>"
_FILL = re.compile(rb"\xff*")
_MOST_PARTS = 100_000
"""Chunks or segments of one file: an untrusted one may have millions of empty ones."""
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
_DESCRIPTION = (
    '<rdf:Description rdf:about="" xmlns:fluxbatch="{namespace}">'
    "<fluxbatch:facts>{facts}</fluxbatch:facts></rdf:Description>\n"
)


class _Unfit(Exception):
    """This file cannot take it."""


def embedded(content: bytes, facts: str) -> bytes | None:
    """*content* with *facts* (a line of ASCII) in it; None where the file cannot take them, or
    carries content credentials, which that would break."""
    try:
        if _is_signed(content):
            return None
        if content.startswith(_PNG):
            return _in_png(content, facts)
        if content.startswith(b"\xff\xd8\xff"):
            return _in_jpg(content, facts)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _in_webp(content, facts)
    except (_Unfit, struct.error, IndexError):
        pass
    return None


def embedded_facts(content: bytes) -> str | None:
    """What `embedded` has put into *content*; None where there is nothing of it."""
    try:
        if content.startswith(_PNG):
            return _from_png(content)
        if content.startswith(b"\xff\xd8\xff"):
            packets = [xmp for s in _segments(content) if (xmp := _packet(content, s)) is not None]
        elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            packets = [c.body(content) for c in _chunks(content) if c.name == b"XMP "]
        else:
            return None
    except (_Unfit, struct.error, IndexError):
        return None
    found = [facts for packet in packets if (facts := _last_facts(packet)) is not None]
    return unescape(found[-1].decode("utf-8", "replace")) if found else None


def has_credentials(content: bytes) -> bool:
    """Whether a png, jpg or webp carries a C2PA manifest, or says where its manifest is.

    Nothing is verified: a broken signature is somebody's mark as well.
    """
    try:
        return _is_signed(content)
    except (_Unfit, struct.error, IndexError):
        return False


def _is_signed(content: bytes) -> bool:
    if content.startswith(_PNG):
        return any(
            name == b"caBX" or (body.startswith(_XMP_IN_PNG) and _ELSEWHERE in body)
            for name, body in _png_chunks(content)
        )
    if content.startswith(b"\xff\xd8\xff"):
        return any(_is_mark(content, segment) for segment in _segments(content))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return any(
            chunk.name == b"C2PA" or (chunk.name == b"XMP " and _ELSEWHERE in chunk.body(content))
            for chunk in _chunks(content)
        )
    return False


def _is_mark(content: bytes, segment: _Segment) -> bool:
    body = segment.body(content)
    if segment.marker == 0xEB:  # JPEG XT: "JP", two numbers, then a box of a length and a type
        return body[:2] == b"JP" and body[12:16] == _JUMBF
    packet = _packet(content, segment)
    return packet is not None and _ELSEWHERE in packet


def _last_facts(packet: bytes) -> bytes | None:
    # By hand: an expression begins again at every start that a hostile packet has.
    head, end, _ = packet.rpartition(_FACTS_END)
    _, start, facts = head.rpartition(_FACTS_START)
    return facts if start and end else None


def _with_facts(packet: bytes, facts: str) -> bytes:
    """An XMP packet with one description more; what it said already stays."""
    head, end, tail = packet.rpartition(_RDF_END)
    if not end:
        raise _Unfit
    text = _DESCRIPTION.format(namespace=_NAMESPACE, facts=escape(facts, quote=False))
    return head + text.encode() + end + tail


def _in_png(content: bytes, facts: str) -> bytes:
    """After the header, which comes first: a text may stand anywhere behind it."""
    if content[len(_PNG) + 4 : len(_PNG) + 8] != b"IHDR":
        raise _Unfit
    # Keyword, not compressed, of no language; the text is UTF-8.
    body = b"iTXt" + KEYWORD.encode() + b"\0\0\0\0\0" + facts.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return content[:_PNG_HEADER_END] + chunk + content[_PNG_HEADER_END:]


def _from_png(content: bytes) -> str | None:
    start = f"{KEYWORD}\0".encode()
    for name, body in _png_chunks(content):
        if name == b"iTXt" and body.startswith(start):
            return body[len(start) + 4 :].decode("utf-8", "replace")
    return None


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each; a body of pixels is left out, it may have a hundred megabytes."""
    at = len(_PNG)
    for _ in range(_MOST_PARTS):
        if at + 12 > len(content):
            return
        (size,) = struct.unpack_from(">I", content, at)
        name = content[at + 4 : at + 8]
        yield name, b"" if name == b"IDAT" else content[at + 8 : at + 8 + size]
        at += size + 12
    raise _Unfit


class _Segment(NamedTuple):
    """A JPEG marker segment before the picture."""

    marker: int
    start: int
    """Of its marker."""
    end: int

    def body(self, content: bytes) -> bytes:
        return content[self.start + 4 : self.end]


def _segments(content: bytes) -> Iterator[_Segment]:
    """Up to the picture itself."""
    at = 2
    for _ in range(_MOST_PARTS):
        fill = _FILL.match(content, at)
        if fill is None or fill.end() == at:
            raise _Unfit
        at = fill.end() - 1
        marker = content[at + 1]
        if marker == 0xDA:
            return
        (size,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + size
        if size < 2 or end > len(content) or 0xD0 <= marker <= 0xD9 or marker <= 1:
            raise _Unfit
        yield _Segment(marker, at, end)
        at = end
    raise _Unfit


def _packet(content: bytes, segment: _Segment) -> bytes | None:
    body = segment.body(content)
    is_xmp = segment.marker == 0xE1 and body.startswith(_XMP_IN_JPG)
    return body[len(_XMP_IN_JPG) :] if is_xmp else None


def _in_jpg(content: bytes, facts: str) -> bytes:
    """Into the packet there is, or a new one behind JFIF and EXIF, where readers look for it."""
    place = 2
    for segment in _segments(content):
        if (packet := _packet(content, segment)) is not None:
            new = _xmp_segment(_with_facts(packet, facts))
            return content[: segment.start] + new + content[segment.end :]
        is_exif = segment.marker == 0xE1 and segment.body(content).startswith(_EXIF_IN_JPG)
        if is_exif or (segment.marker == 0xE0 and place == segment.start):
            place = segment.end
    return content[:place] + _xmp_segment(_with_facts(_PACKET, facts)) + content[place:]


def _xmp_segment(packet: bytes) -> bytes:
    body = _XMP_IN_JPG + packet
    if len(body) > _SEGMENT_BYTES:
        raise _Unfit
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


class _Chunk(NamedTuple):
    """A RIFF chunk."""

    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """Behind its padding."""
        return self.start + 8 + self.size + self.size % 2

    def body(self, content: bytes) -> bytes:
        return content[self.start + 8 : self.start + 8 + self.size]


def _chunks(content: bytes) -> list[_Chunk]:
    (size,) = struct.unpack_from("<I", content, 4)
    at, end, chunks = 12, 8 + size, []
    if end > len(content):
        raise _Unfit
    while at + 8 <= end:
        chunk = _Chunk(content[at : at + 4], at, *struct.unpack_from("<I", content, at + 4))
        if chunk.start + 8 + chunk.size > end:
            raise _Unfit
        chunks.append(chunk)
        if len(chunks) > _MOST_PARTS:
            raise _Unfit
        at = chunk.end
    return chunks


_ALPHA, _XMP = 0x10, 0x04


def _in_webp(content: bytes, facts: str) -> bytes:
    """Into the packet there is, or a new one at the end; a simple file becomes an extended one."""
    chunks = _chunks(content)
    first = chunks[0]
    if first.name == b"VP8X":
        header = bytearray(first.body(content))
    else:
        header = bytearray(_extended_header(content, first))
    header[0] |= _XMP
    rest = [chunk for chunk in chunks if chunk.name not in {b"VP8X", b"XMP "}]
    packets = [chunk.body(content) for chunk in chunks if chunk.name == b"XMP "]
    packet = _with_facts(packets[0] if packets else _PACKET, facts)
    parts = [_chunk(b"VP8X", bytes(header))]
    parts += [_chunk(chunk.name, chunk.body(content)) for chunk in rest]
    parts.append(_chunk(b"XMP ", packet))
    body = b"WEBP" + b"".join(parts)
    (size,) = struct.unpack_from("<I", content, 4)
    behind = content[8 + size + size % 2 :]
    return b"RIFF" + struct.pack("<I", len(body)) + body + behind


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _extended_header(content: bytes, first: _Chunk) -> bytes:
    """The VP8X chunk that a simple file's only chunk implies."""
    body = first.body(content)
    flags = width = height = 0
    if first.name == b"VP8L":
        if body[0] != 0x2F:
            raise _Unfit
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA if bits >> 28 & 1 else 0
    elif first.name == b"VP8 ":
        if body[3:6] != b"\x9d\x01\x2a":
            raise _Unfit
        width, height = (int(side) & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
    else:
        raise _Unfit
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes([flags, 0, 0, 0]) + sides
