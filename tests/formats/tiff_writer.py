"""Writes TIFF files field by field."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, LONG8 = 1, 2, 3, 4, 5, 16
WHITE, BLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
PLAIN, DEFLATE, LZW, PACKBITS, LZMA, ZSTD = 1, 8, 5, 32773, 34925, 50000
SIZES = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", LONG8: "Q"}


@attrs.define(kw_only=True)
class Layout:
    """The fields of a file that is about to be written."""

    order: str
    big: bool
    tags: dict[int, tuple[int, list[int]]]
    segments: list[bytes]
    sizes: tuple[int, int] = (273, 279)
    again: tuple[int, int, list[int]] | None = None


def assembled(layout: Layout, *, first: bool) -> bytes:
    """The file: strips and then tags, or the other way round."""
    order, big = layout.order, layout.big
    start = 16 if big else 8
    tags = dict(layout.tags)
    place = start
    offsets = []

    def directory(at: int) -> bytes:
        entries = [(code, *tags[code]) for code in sorted(tags)]
        if layout.again:
            entries.append(layout.again)
        size, room = (20, 8) if big else (12, 4)
        after = at + (8 if big else 2) + size * len(entries) + room
        body, extra = b"", b""
        for code, kind, values in entries:
            if kind == RATIONAL:
                packed = b"".join(struct.pack(order + "II", *thousandths(one)) for one in values)
            else:
                packed = struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
            if len(packed) > room:
                extra += bytes(len(extra) % 2)
                pointer, extra = after + len(extra), extra + packed
                packed = struct.pack(order + ("Q" if big else "I"), pointer)
            body += struct.pack(order + ("HHQ" if big else "HHI"), code, kind, len(values))
            body += packed.ljust(room, b"\0")
        head = struct.pack(order + ("Q" if big else "H"), len(entries))
        return head + body + bytes(room) + extra

    if first:  # tags before the strips, whose places are known once the tags' length is
        tags[layout.sizes[0]] = (tags[layout.sizes[0]][0], [0] * len(layout.segments))
        place += len(directory(start))
    for segment in layout.segments:
        offsets.append(place)
        place += len(segment)
    tags[layout.sizes[0]] = (tags[layout.sizes[0]][0], offsets)
    at = start if first else place + place % 2
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, at)
    else:
        head = mark + struct.pack(order + "HI", 42, at)
    data = b"".join(layout.segments)
    if first:
        return head + directory(at) + data
    return head + data + bytes(place % 2) + directory(at)


def thousandths(value: float) -> tuple[int, int]:
    """A rational of thousandths."""
    return round(value * 1000), 1000


def row_bytes(row: np.ndarray[Any, Any], bits: int, order: str) -> bytes:
    """A row of samples, the first in the highest bits, or in the file's byte order."""
    if bits in (8, 16, 32, 64):
        return row.astype(row.dtype.newbyteorder(order)).tobytes()
    digits = "".join(f"{int(value):0{bits}b}" for value in row.ravel())
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def predicted(block: np.ndarray[Any, Any], predictor: int) -> np.ndarray[Any, Any]:
    """Differences to the left neighbour."""
    if predictor != 2:
        return block
    whole = block.view(f"u{block.dtype.itemsize}").copy()
    whole[:, 1:] -= whole[:, :-1].copy()
    return whole.view(block.dtype)


def block_bytes(block: np.ndarray[Any, Any], bits: int, order: str, predictor: int) -> bytes:
    """The rows of a strip or tile, of shape (rows, columns, samples)."""
    if predictor == 3:
        rows = []
        for row in block:
            flat = row.reshape(-1)
            width, count, samples = flat.dtype.itemsize, flat.size, row.shape[-1]
            planes = flat.astype(flat.dtype.newbyteorder(">")).view(np.uint8)
            planes = planes.reshape(count, width).T.reshape(-1)
            out = planes.copy()
            out[samples:] -= planes[:-samples]
            rows.append(out.tobytes())
        return b"".join(rows)
    return b"".join(row_bytes(row, bits, order) for row in predicted(block, predictor))


def reversed_bits(data: bytes) -> bytes:
    """Each byte with its lowest bit first."""
    return bytes(int(f"{one:08b}"[::-1], 2) for one in data)


def two_pages(layout: Layout) -> bytes:
    """The file, whose page leads to one more."""
    alone = assembled(layout, first=False)
    order, big = layout.order, layout.big
    place = len(alone)
    # A page of its own behind the file, of one pixel that lies in the header.
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    room = 8 if big else 4
    body = struct.pack(order + ("Q" if big else "H"), len(tags))
    for code, value in tags.items():
        body += struct.pack(order + ("HHQ" if big else "HHI"), code, LONG, 1)
        body += struct.pack(order + "I", value).ljust(room, b"\0")
    start = struct.unpack_from(order + ("Q" if big else "I"), alone, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), alone, start)[0]
    link = start + (8 if big else 2) + count * (20 if big else 12)
    pointer = struct.pack(order + ("Q" if big else "I"), place)
    return alone[:link] + pointer + alone[link + room :] + body + bytes(room)
