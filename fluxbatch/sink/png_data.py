"""The pixel data of a png: whether all of its rows are there.

Owns the count of what its compressed chunks unpack to: Pillow, as most readers, shows whatever came
and leaves the rest black. Unpacks in pieces and keeps none. As the PNG specification has it, 3rd
edition, 7 and 8.
"""

from __future__ import annotations

import zlib
from typing import IO

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip
"""Of an interlaced image: its first column and row, and the steps between them."""
_PIECE_BYTES = 1024 * 1024


def has_all_rows(stream: IO[bytes]) -> bool:
    """Whether a png whose chunks are whole has pixel data for every row; leaves *stream* at its
    start."""
    wanted, found = 0, 0
    unpacker = zlib.decompressobj()
    stream.seek(_SIGNATURE_BYTES)
    while len(head := stream.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IHDR":
            wanted = _bytes_of(stream.read(size))
        elif kind == b"IDAT":
            found += _unpacked(unpacker, stream.read(size), wanted - found)
        else:
            stream.seek(size, 1)
        stream.seek(4, 1)
        if wanted and found >= wanted:
            break
    stream.seek(0)
    return found >= wanted


def _unpacked(unpacker: zlib._Decompress, data: bytes, most: int) -> int:
    """How many bytes *data* adds, up to *most* and a piece."""
    found = 0
    try:
        while data and not unpacker.eof and found < most:
            found += len(unpacker.decompress(data, _PIECE_BYTES))
            data = unpacker.unconsumed_tail
    except zlib.error:
        pass  # the decoder has its own word for that
    return found


def _bytes_of(header: bytes) -> int:
    """How many bytes the rows have before they are packed, each with its filter's."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS.get(header[9], 1)
    if not header[12]:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _PASSES:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
