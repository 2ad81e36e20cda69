"""Decode PNG files; checksums, order of chunks and length are verified first.

Pillow stops where the pixels are complete, ignores the checksums of their chunks, and reduces
colours of 16 bits to 8. So the file is parsed here, and Pillow only undoes the filters
of the rows. What follows IEND is no part of a PNG and is not looked at.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_bomb, refuse_pixels
from medpipe.data.readers.marks import PNG
from medpipe.data.readers.raster import Raster
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    import numpy as np

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""The bits that a sample may have, by the colour type."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The samples of a pixel, by the colour type."""
PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""First row and column, and the steps between them, of the seven passes of an interlaced file."""
MODES = {
    (1, 0): ("1", "1"),
    (2, 0): ("L", "L;2"),
    (4, 0): ("L", "L;4"),
    (8, 0): ("L", "L"),
    (16, 0): ("I;16", "I;16B"),
    (8, 2): ("RGB", "RGB"),
    (16, 2): ("RGB", "RGB;16B"),
    (1, 3): ("P", "P;1"),
    (2, 3): ("P", "P;2"),
    (4, 3): ("P", "P;4"),
    (8, 3): ("P", "P"),
    (8, 4): ("LA", "LA"),
    (8, 6): ("RGBA", "RGBA"),
    (16, 6): ("RGBA", "RGBA;16B"),
}
"""Pillow's names for an image in memory and for its samples in the file, by depth and colour."""
CHUNK = struct.Struct(">I4s")
HEADER = struct.Struct(">IIBBBBB")
LARGEST = (1 << 31) - 1
STORED = (1 << 16) - 1
"""The bytes of a block that isn't compressed, at most."""
TURNING = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
"""Keywords of texts that may say how a picture is to be turned."""
REST = ((16, 2), (16, 6))
"""Depth and colour type of what Pillow reduces to 8 bits: its high and low bytes are read apart."""


@attrs.frozen(kw_only=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    def rows(self) -> list[tuple[int, int]]:
        """The rows of each pass, and the bytes of each with the one of its filter."""
        passes = PASSES if self.interlaced else ((0, 0, 1, 1),)
        bits = self.depth * CHANNELS[self.colour]
        found = []
        for top, left, down, right in passes:
            rows = -(-(self.height - top) // down)
            columns = -(-(self.width - left) // right)
            if rows > 0 and columns > 0:
                found.append((rows, 1 + (columns * bits + 7) // 8))
        return found


@attrs.frozen(kw_only=True)
class _Chunks:
    header: _Header
    palette: bytes
    data: bytes
    turning: bool


def png_raster(content: bytes, path: str | os.PathLike[str], *, upright: bool) -> Raster:
    """The values of a PNG file.

    Args:
        content: The file.
        path: For errors.
        upright: Whether its orientation will be wanted, which costs a little where there is one.

    Raises:
        DataError: A checksum is wrong, chunks are missing or out of order, or the data are more or
            less than the header says; or it has several frames, or is too large.
    """
    chunks = _chunks(content, path)
    header = chunks.header
    rows = _inflated(chunks, path)
    values = _unfiltered(header, rows)
    palette = None
    if header.colour == 3:
        import numpy as np

        palette = np.frombuffer(chunks.palette, np.uint8).reshape(-1, 3)
    return Raster(
        values=values,
        colours="RGB" if header.colour in (2, 6) else None,
        alpha="straight" if header.colour in (4, 6) else None,
        palette=palette,
        orientation=_orientation(content) if upright and chunks.turning else 1,
    )


def _chunks(content: bytes, path: str | os.PathLike[str]) -> _Chunks:
    """The chunks that say something about the pixels; all are checked."""
    header: _Header | None = None
    palette = b""
    data: list[memoryview] = []
    turning = False
    frames, first_is_frame = 1, False
    place, name, view = len(PNG), b"", memoryview(content)
    while name != b"IEND":
        if len(content) < place + 8:
            raise _broken(path, "it ends before its IEND chunk", kind="truncated")
        before = name
        length, name = CHUNK.unpack_from(content, place)
        title = _title(name)
        end = place + 12 + length
        if not name.isalpha() or length > LARGEST:
            raise _broken(path, f"at byte {place} there is no chunk")
        if end > len(content):
            raise _broken(path, f"it ends within its {title} chunk", kind="truncated")
        body = view[place + 8 : end - 4]
        if zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise _broken(path, f"the checksum (CRC) of its {title} chunk at byte {place} is wrong")
        place = end
        if header is None:
            if name != b"IHDR":
                raise _broken(path, f"it begins with a chunk {title}, not IHDR")
            header = _header(body, path)
            refuse_pixels(path, header.width, header.height)
        elif name == b"IDAT":
            if data and before != b"IDAT":
                raise _broken(path, f"a chunk {_title(before)} stands between its IDAT chunks")
            data.append(body)
        elif name == b"PLTE":
            if data or palette:
                raise _broken(path, "it has a second or late PLTE chunk")
            palette = bytes(body)
        elif name == b"acTL" and not data and len(body) == 8:
            frames = int.from_bytes(body[:4], "big")
        elif name == b"fcTL" and not data:
            first_is_frame = True
        elif name == b"eXIf" or (name in (b"tEXt", b"zTXt", b"iTXt")):
            turning = turning or name == b"eXIf" or bytes(body[:32]).startswith(TURNING)
        elif name != b"IEND" and not name[0] & 0x20:
            raise _broken(path, f"it has a critical chunk {title}, which no PNG decoder may skip")
    assert header is not None
    _check_palette(header, palette, path)
    pages = frames if first_is_frame or frames == 1 else frames + 1
    if pages > 1:
        raise UnreadableImageError(
            path,
            f"has {pages} pages, of which only the first would be read",
            "Save each page as a file of its own.",
        )
    return _Chunks(header=header, palette=palette, data=b"".join(data), turning=turning)


def _header(body: memoryview, path: str | os.PathLike[str]) -> _Header:
    if len(body) != HEADER.size:
        raise _broken(path, f"its IHDR chunk has {len(body)} bytes, not {HEADER.size}")
    width, height, depth, colour, compression, filters, interlace = HEADER.unpack(body)
    if not 0 < width <= LARGEST or not 0 < height <= LARGEST:
        raise _broken(path, f"its IHDR chunk says {width} x {height} pixels")
    if depth not in DEPTHS.get(colour, ()):
        raise _broken(path, f"its IHDR chunk says {depth} bits for the colour type {colour}")
    if compression or filters or interlace > 1:
        told = f"compression {compression}, filter {filters}, interlace {interlace}"
        raise _broken(path, f"its IHDR chunk says {told}, which PNG doesn't know")
    return _Header(
        width=width, height=height, depth=depth, colour=colour, interlaced=bool(interlace)
    )


def _check_palette(header: _Header, palette: bytes, path: str | os.PathLike[str]) -> None:
    most = 1 << header.depth if header.colour == 3 else 256
    if header.colour == 3 and not palette:
        raise _broken(path, "its PLTE chunk is missing")
    if palette and header.colour in (0, 4):
        raise _broken(path, "it is grey, and has a PLTE chunk")
    if len(palette) % 3 or len(palette) > 3 * most:
        raise _broken(path, f"its PLTE chunk has {len(palette)} bytes for {most} colours at most")


def _inflated(chunks: _Chunks, path: str | os.PathLike[str]) -> bytes:
    """The filtered rows, exactly as many as the header says."""
    stretches = chunks.header.rows()
    length = sum(rows * bytes_ for rows, bytes_ in stretches)
    refuse_bomb(path, length)
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(chunks.data, length + 1)
        if len(rows) == length and not stream.eof:  # its own checksum is still to be read
            rows += stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise _broken(path, f"its IDAT chunks can't be decompressed: {error}") from error
    if len(rows) > length:
        raise _broken(path, f"its IDAT chunks hold more than the {length} bytes of its IHDR chunk")
    if len(rows) < length:
        reason = f"its IDAT chunks hold {len(rows)} of the {length} bytes of its IHDR chunk"
        raise _broken(path, reason, kind="truncated")
    if not stream.eof:
        raise _broken(path, "the checksum of its compressed data is missing", kind="truncated")
    place = 0
    for count, row in stretches:
        if max(rows[place : place + count * row : row]) > 4:
            raise _broken(path, "its rows have a filter that PNG doesn't know")
        place += count * row
    return rows


def _unfiltered(header: _Header, rows: bytes) -> np.ndarray[Any, Any]:
    """The samples, of shape (height, width) or (height, width, channels)."""
    import numpy as np

    if (header.depth, header.colour) in REST:
        order = ("RGB;16B", "RGB;16L") if header.colour == 2 else ("RGBA;16B", "RGBA;16L")
        high, low = (_by_pillow(header, rows, raw) for raw in order)
        values: np.ndarray[Any, Any] = high.astype(np.uint16) << 8 | low
        return values
    if (header.depth, header.colour) == (16, 4):  # as many bytes a pixel as RGBA of 8 bits
        values = _by_pillow(attrs.evolve(header, depth=8, colour=6), rows).view(">u2")
        return values.astype(np.uint16)
    return _by_pillow(header, rows)


def _by_pillow(header: _Header, rows: bytes, raw: str | None = None) -> np.ndarray[Any, Any]:
    """Undo the filters and the interlacing; `raw` is Pillow's name for the samples to keep."""
    import numpy as np
    from PIL import Image

    mode, stored = MODES[header.depth, header.colour]
    size, filtered = (header.width, header.height), _stored(rows)
    # Its decoder alone: to open a file takes several times as long as a small image.
    image = Image.frombytes(mode, size, filtered, "zip", raw or stored, header.interlaced)
    return np.array(image)


def _stored(data: bytes) -> bytes:
    """A zlib stream that holds the data as they are; zlib itself takes several times as long."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(data), STORED):
        block = view[start : start + STORED]
        last = start + STORED >= len(data)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*parts, zlib.adler32(data).to_bytes(4, "big")])


def _orientation(content: bytes) -> int:
    from io import BytesIO

    from PIL.PngImagePlugin import PngImageFile

    from medpipe.data.readers.exif import orientation

    try:
        with PngImageFile(BytesIO(content)) as image:
            return orientation(image)
    except Exception:  # damaged texts: the pixels may still be sound
        return 1


def _title(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _broken(
    path: str | os.PathLike[str], reason: str, *, kind: Any = "damaged"
) -> UnreadableImageError:
    return UnreadableImageError(path, f"is damaged: {reason}", kind=kind)
