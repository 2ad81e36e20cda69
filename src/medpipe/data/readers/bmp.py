"""Decode BMP files, whose header must fit their data."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_pixels
from medpipe.data.readers.fast_jpeg import in_text_mode
from medpipe.data.readers.jpeg import MANGLED
from medpipe.data.readers.raster import Raster
from medpipe.data.readers.samples import unpacked
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    import numpy as np

FILE_HEADER = 14
CORE = 12
"""The length of OS/2's first header, which has sizes of 16 bits and palettes of three bytes."""
HEADERS = frozenset({16, 40, 52, 56, 64, 108, 124})
RAW, RLE8, RLE4, FIELDS, JPEG, PNG, ALPHA_FIELDS = 0, 1, 2, 3, 4, 5, 6
COMPRESSIONS = {RAW: (1, 2, 4, 8, 16, 24, 32), RLE8: (8,), RLE4: (4,), FIELDS: (16, 32)}
COMPRESSIONS[ALPHA_FIELDS] = COMPRESSIONS[FIELDS]
COMPRESSIONS[JPEG] = COMPRESSIONS[PNG] = (0, 24)
"""The bits of a pixel that each compression allows."""
MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
"""Where red, green, blue and alpha lie without masks of a file's own."""


@attrs.frozen(kw_only=True)
class _Header:
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    palette: bytes
    entry: int
    masks: tuple[int, int, int, int]
    data: memoryview


def bmp_raster(content: bytes, path: str | os.PathLike[str]) -> Raster:
    """The values of a BMP file.

    Raises:
        DataError: It is shorter than its header says, its header contradicts itself, or it is of
            a kind that isn't decoded, or too large.
    """
    import numpy as np

    header = _header(content, path)
    if header.compression in (JPEG, PNG):
        return _inner(header, path)
    if header.compression in (RLE8, RLE4):
        from medpipe.data.readers.bmp_runs import expanded

        shape = header.height, header.width
        values = expanded(bytes(header.data), shape, path, halves=header.compression == RLE4)
    else:
        values = _plain(header, path)
    if not header.top_down:
        values = values[::-1]
    if header.bits > 8:
        values = np.ascontiguousarray(values)
        return Raster(
            values=values, colours="RGB", alpha="straight" if values.shape[-1] == 4 else None
        )
    palette = np.frombuffer(header.palette, np.uint8).reshape(-1, header.entry)[:, 2::-1]
    greys = [0, 255] if len(palette) == 2 else range(len(palette))
    if values.max(initial=0) < len(palette) and all(
        tuple(colour) == (grey,) * 3 for colour, grey in zip(palette.tolist(), greys, strict=True)
    ):
        return Raster(values=values.astype(bool) if len(palette) == 2 else values)
    return Raster(values=values, palette=palette)


def _inner(header: _Header, path: str | os.PathLike[str]) -> Raster:
    """The picture of a BMP whose pixels are a file of another format."""
    from medpipe.data.readers.jpeg import jpeg_raster
    from medpipe.data.readers.png import png_raster

    content = bytes(header.data)
    is_png = header.compression == PNG
    raster = png_raster(content, path, upright=False) if is_png else jpeg_raster(content, path)
    height, width = raster.values.shape[:2]
    if (height, width) != (header.height, header.width) or header.top_down:
        told = f"{header.width} x {'-' * header.top_down}{header.height}"
        raise _broken(path, f"its header says {told} pixels, the file in it {width} x {height}")
    return raster


def _header(content: bytes, path: str | os.PathLike[str]) -> _Header:
    if len(content) < FILE_HEADER + 4:
        raise _broken(path, "it ends within its header", kind="truncated")
    told, _, offset, size = struct.unpack_from("<IIII", content, 2)
    if size != CORE and size not in HEADERS:
        raise _broken(path, f"its header of {size} bytes is not a BMP header")
    if len(content) < FILE_HEADER + size:
        raise _broken(path, "it ends within its header", kind="truncated")
    fields = content[FILE_HEADER + 4 : FILE_HEADER + size]
    if size == CORE:
        width, height, planes, bits = struct.unpack("<HHHH", fields)
        compression = colours = stored = 0
    else:
        width, height, planes, bits, compression, stored, _, _, colours = struct.unpack(
            "<iiHHIIiiI", fields[:32].ljust(32, b"\0")
        )
    if size == 64 and compression in (3, 4):
        raise UnreadableImageError(
            path, f"is compressed in a way of OS/2 ({compression}), which isn't decoded"
        )
    if bits not in COMPRESSIONS.get(compression, ()):
        raise UnreadableImageError(
            path,
            f"has {bits} bits for each pixel with the compression {compression}, which isn't "
            "decoded",
            "Save it as PNG.",
        )
    if width <= 0 or not height or planes != 1 or (height < 0 and compression in (RLE8, RLE4)):
        raise _broken(path, f"its header says {width} x {height} pixels in {planes} planes")
    refuse_pixels(path, width, abs(height))
    masks, after = _masks(content, size, compression, bits)
    entry = 3 if size == CORE else 4
    palette = b""
    if 0 < bits <= 8:
        count = colours or 1 << bits
        # A palette that ends where the pixels begin may be shorter than the header says.
        if size == CORE or not colours:
            count = min(count, max(0, offset - after) // entry)
        palette = content[after : after + count * entry]
        after += len(palette)
        if not palette or len(palette) < min(count, 1 << bits) * entry or len(palette) % entry:
            raise _broken(path, "its palette is missing", kind="truncated")
    if offset < after:
        raise _broken(path, f"its pixels begin at byte {offset}, within its header or palette")
    data = memoryview(content)[offset:]
    if len(content) > told and in_text_mode(content):
        raise _broken(path, MANGLED)
    row = (width * bits + 31) // 32 * 4
    coded = compression in (RLE8, RLE4, JPEG, PNG)
    wanted = stored if coded else row * abs(height)
    if len(data) < wanted:
        reason = f"its pixels take {wanted} bytes, of which {len(data)} are there"
        raise _broken(path, reason, kind="truncated")
    if not coded and stored and not wanted <= stored < wanted + row:
        raise _broken(path, f"its header says {stored} bytes of pixels, its size {wanted}")
    return _Header(
        width=width,
        height=abs(height),
        top_down=height < 0,
        bits=bits,
        compression=compression,
        palette=palette[: entry << bits],  # more can't be named
        entry=entry,
        masks=masks,
        data=data[: wanted or len(data)],
    )


def _masks(
    content: bytes, size: int, compression: int, bits: int
) -> tuple[tuple[int, int, int, int], int]:
    """Where the colours lie in a pixel, and where the header ends."""
    after = FILE_HEADER + size
    if compression not in (FIELDS, ALPHA_FIELDS):
        return MASKS.get(bits, MASKS[32]), after
    if size == 40:  # behind a header that has no room for them
        count = 4 if compression == ALPHA_FIELDS else 3
        after += 4 * count
    else:
        count = 3 if size == 52 else 4
    found = content[FILE_HEADER + 40 : FILE_HEADER + 40 + 4 * count].ljust(16, b"\0")
    red, green, blue, alpha = struct.unpack("<IIII", found)
    return (red, green, blue, alpha), after


def _plain(header: _Header, path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Rows as they are stored, from the lowest unless the header says otherwise."""
    import numpy as np

    rows = np.frombuffer(header.data, np.uint8).reshape(header.height, -1)
    if header.bits <= 8:
        return unpacked(rows, header.width, header.bits)
    if header.bits == 24:
        return rows[:, : header.width * 3].reshape(header.height, header.width, 3)[..., ::-1]
    pixels = rows.view("<u2" if header.bits == 16 else "<u4")[:, : header.width]
    masks = header.masks if header.masks[3] else header.masks[:3]
    return np.stack([_field(pixels, mask, header.bits, path) for mask in masks], axis=-1)


def _field(
    pixels: np.ndarray[Any, Any], mask: int, bits: int, path: str | os.PathLike[str]
) -> np.ndarray[Any, Any]:
    """One colour, over 0 to 255; more than 8 bits can't be kept beside others of fewer."""
    import numpy as np

    low = (mask & -mask).bit_length() - 1
    width = mask.bit_length() - low
    if not mask or mask >> low != (1 << width) - 1 or mask >> bits:
        raise _broken(path, f"its header says that a colour lies in the bits {mask:#x}")
    if width > 8:
        raise UnreadableImageError(
            path, f"has a colour of {width} bits (mask {mask:#x}), which isn't decoded"
        )
    values = pixels >> low & (mask >> low)
    top = (1 << width) - 1
    return (values.astype(np.uint32) * 255 // top).astype(np.uint8)


def _broken(
    path: str | os.PathLike[str], reason: str, *, kind: Any = "damaged"
) -> UnreadableImageError:
    return UnreadableImageError(path, f"is damaged: {reason}", kind=kind)
