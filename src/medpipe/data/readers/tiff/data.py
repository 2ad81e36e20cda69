"""The strips and tiles of a TIFF page, decompressed and complete."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.tiff.lengths import lzw_length, packbits_length
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

NONE, LZW, OLD_JPEG, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 6, 7, 8, 32946, 32773
FAX = {2: "CCITT RLE", 3: "CCITT T.4", 4: "CCITT T.6"}
LZMA, ZSTANDARD = 34925, 50000
BY_LIBTIFF = frozenset({LZW, PACKBITS, *FAX, ZSTANDARD})
"""What Pillow's libtiff decompresses."""
PREDICTABLE = frozenset({LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTANDARD})
"""The compressions before which a predictor may have been applied."""
KNOWN = BY_LIBTIFF | {NONE, OLD_JPEG, JPEG, DEFLATE, OLD_DEFLATE, LZMA}
AT_ONCE = 1 << 26
"""The bytes of strips that are decompressed at once."""


@attrs.frozen(kw_only=True)
class Segment:
    """A strip or a tile.

    Attributes:
        data: As the file has it.
        rows: That belong to the picture.
        full: That a writer may have stored: a last strip may be filled up.
    """

    data: bytes
    rows: int
    full: int


@attrs.frozen(kw_only=True)
class Coding:
    """How strips and tiles are compressed.

    Attributes:
        compression: The number of TIFF.
        row: Bytes of each row.
        columns: Pixels of each row, for fax compressions.
        reversed_bits: Whether the first bit is the lowest of each byte (FillOrder 2).
        options: T4Options or T6Options.
        path: For errors.
    """

    compression: int
    row: int
    columns: int
    reversed_bits: bool
    options: int
    path: str | os.PathLike[str]


def decompressed(segments: Sequence[Segment], coding: Coding) -> list[bytes]:
    """The rows of each segment, exactly as many as belong to the picture.

    Raises:
        DataError: A segment is damaged, or holds fewer or more rows than it should.
    """
    if coding.reversed_bits and coding.compression not in FAX:
        turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
        segments = [attrs.evolve(one, data=one.data.translate(turned)) for one in segments]
    if coding.compression in BY_LIBTIFF:
        for number, segment in enumerate(segments):
            _check_length(segment, coding, number)
        return _by_libtiff(segments, coding)
    rows = []
    for number, segment in enumerate(segments):
        data = segment.data
        if coding.compression != NONE:
            data = _inflated(segment, coding, number)
        rows.append(_fitting(data, segment, coding, number))
    return rows


def _inflated(segment: Segment, coding: Coding, number: int) -> bytes:
    import lzma

    stream: Any = lzma.LZMADecompressor() if coding.compression == LZMA else zlib.decompressobj()
    try:
        # One row more than there may be, so that too many are noticed.
        most = (segment.full + 1) * coding.row + 1
        data: bytes = stream.decompress(segment.data, most)
        if not stream.eof and len(data) < most:  # the checksum at the end is still to be read
            data += stream.decompress(getattr(stream, "unconsumed_tail", b""), 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise broken(coding.path, f"its strip or tile {number}: {error}") from error
    if not stream.eof and len(data) < most:
        reason = f"the compressed data of its strip or tile {number} end too early"
        raise broken(coding.path, reason, kind="truncated")
    return data


def _fitting(data: bytes, segment: Segment, coding: Coding, number: int) -> bytes:
    """The rows, if their length is right, up to less than a row of padding."""
    _check_fit(len(data), segment, coding, number)
    return data[: segment.rows * coding.row]


def _check_fit(length: int, segment: Segment, coding: Coding, number: int) -> None:
    wanted = segment.rows * coding.row
    if length < wanted:
        reason = f"its strip or tile {number} holds {length} of {wanted} bytes"
        raise broken(coding.path, reason, kind="truncated")
    most = (wanted, segment.full * coding.row)
    if not any(0 <= length - one < coding.row for one in most):
        reason = f"its strip or tile {number} holds {length} bytes, more than its {wanted}"
        raise broken(coding.path, reason)


def _by_libtiff(segments: Sequence[Segment], coding: Coding) -> list[bytes]:
    rows: list[bytes] = []
    group: list[Segment] = []
    for segment in segments:
        # All but the last strip of a picture are full; a shorter one ends its group.
        group.append(segment)
        size = sum(one.rows for one in group) * coding.row
        if segment.rows < group[0].rows or size > AT_ONCE:
            rows += _group(group, coding)
            group = []
    rows += _group(group, coding) if group else []
    return rows


def _group(segments: Sequence[Segment], coding: Coding) -> list[bytes]:
    try:
        data = _libtiff(segments, [one.rows for one in segments], coding)
    except OSError as error:
        reason = f"its compressed strips or tiles can't be decompressed: {error}"
        raise broken(coding.path, reason) from error
    found, place = [], 0
    for segment in segments:
        length = segment.rows * coding.row
        found.append(data[place : place + length])
        place += length
    return found


def _check_length(segment: Segment, coding: Coding, number: int) -> None:
    """Refuse LZW and PackBits of another length than the header says, which libtiff passes over."""
    if coding.compression == LZW:
        old = len(segment.data) > 1 and segment.data[0] == 0 and segment.data[1] & 1
        if old:  # the bit order of TIFF 5 and before, which libtiff knows
            return
        length = lzw_length(segment.data)
    elif coding.compression == PACKBITS:
        length = packbits_length(segment.data)
    else:
        return
    if length is None:
        raise broken(coding.path, f"the compressed data of its strip or tile {number} are broken")
    _check_fit(length, segment, coding, number)


def _libtiff(segments: Sequence[Segment], rows: Sequence[int], coding: Coding) -> bytes:
    """Decompress by Pillow's libtiff, as rows of grey values of 8 bits (1 bit for fax).

    The strips are put into a TIFF of their own that says nothing but how they are compressed.
    """
    from io import BytesIO

    from PIL.TiffImagePlugin import TiffImageFile

    offsets, place = [], 8
    for segment in segments:
        offsets.append(place)
        place += len(segment.data)
    fax = coding.compression in FAX
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [coding.columns if fax else coding.row]),
        257: ("I", [sum(rows)]),
        258: ("H", [1 if fax else 8]),
        259: ("H", [coding.compression]),
        262: ("H", [1]),
        266: ("H", [2 if fax and coding.reversed_bits else 1]),
        273: ("I", offsets),
        277: ("H", [1]),
        278: ("I", [rows[0]]),
        279: ("I", [len(segment.data) for segment in segments]),
    }
    if coding.compression in (3, 4):
        tags[289 + coding.compression] = ("I", [coding.options])
    entries, extra = b"", b""
    start = place + 2 + 12 * len(tags) + 4
    for code, (form, values) in tags.items():
        packed = struct.pack(f"<{len(values)}{form}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", start + len(extra)), extra + packed
        entries += struct.pack("<HHI", code, 3 if form == "H" else 4, len(values))
        entries += packed.ljust(4, b"\0")
    content = b"".join(
        [
            struct.pack("<2sHI", b"II", 42, place),
            *(segment.data for segment in segments),
            struct.pack("<H", len(tags)) + entries + bytes(4) + extra,
        ]
    )
    with TiffImageFile(BytesIO(content)) as image:
        image.load()
        return image.tobytes()


def broken(
    path: str | os.PathLike[str], reason: str, *, kind: Any = "damaged"
) -> UnreadableImageError:
    """The error for a TIFF file that contradicts itself."""
    return UnreadableImageError(path, f"is damaged: {reason}", kind=kind)
