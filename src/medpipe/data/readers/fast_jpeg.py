"""Decode plain JPEG files by simplejpeg, with exactly the values that Pillow gives.

Both use libjpeg-turbo. Pillow goes through a stream, an image and a copy, which for a small picture
takes several times as long as the decoding. Whatever is not plain, complete and without a warning
gives None here, and `jpeg.py` decodes or refuses it.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.readers.marks import JPEG

if TYPE_CHECKING:
    import numpy as np

Subsampling = Literal["Gray", "444", "422", "420", "440", "411"]

END = b"\xff\xd9"
FRAME = 0xC0
"""The marker of a baseline frame; no other kind is plain."""
SCAN = 0xDA
SCAN_START = b"\xff\xda"
SHARED = 4096
"""Bytes up to which what comes before the pixels is remembered."""
HUFFMAN = 0xC4
AC = 16
"""What is added to the number of a Huffman table of AC coefficients."""
TABLES = frozenset({0xDB, 0xDD})
"""Quantization tables, and the restart interval."""
REMARKS = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Segments of applications, and comments."""
FEW = 4
"""Line feeds of which each has a carriage return before it only in files that are mangled."""
JFIF = 0xE0
SEGMENT = struct.Struct(">BBH")
JFIF_LENGTH = 16
"""The length of a JFIF segment without a thumbnail, which says nothing about the pixels."""
FACTORS: dict[bytes, Subsampling] = {
    b"\x11": "Gray",
    b"\x11\x11\x11": "444",
    b"\x21\x11\x11": "422",
    b"\x22\x11\x11": "420",
    b"\x12\x11\x11": "440",
    b"\x41\x11\x11": "411",
}
"""By the sampling factors of the components."""


@attrs.frozen(kw_only=True)
class JpegHeader:
    """What a JPEG file says before its pixels.

    Attributes:
        height: In pixels.
        width: In pixels.
        subsampling: How coarse the colours are; ``Gray``: there are none.
        bare: Whether nothing but JFIF's own segment describes the picture: no EXIF data, which
            may turn it, no colour profile, no further pictures.
    """

    height: int
    width: int
    subsampling: Subsampling
    bare: bool


def jpeg_header(content: bytes) -> JpegHeader | None:
    """The header of a baseline JPEG, grey or of three components; None for everything else."""
    if not content.startswith(JPEG):
        return None
    start = content.find(SCAN_START, 2)
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    # Images of one source begin with the same bytes.
    if 0 <= start < end <= SHARED:
        header, end = _before_pixels(content[:end])
    else:
        header, end = _walked(content)
    if not end:  # the mark of a scan stood in another segment
        header, end = _walked(content)
    if header is None or not (content.endswith(END) or content.find(END, end) >= 0):
        return None
    return header


def _walked(content: bytes) -> tuple[JpegHeader | None, int]:
    """The header, and where the segment of its scan ends; 0 where the content ends before."""
    place, bare = 2, True
    tables: frozenset[int] = frozenset()
    frame = b""
    while True:
        # Each segment: 0xFF, its marker, and its length with the two bytes that give it.
        try:
            first, marker, length = SEGMENT.unpack_from(content, place)
        except struct.error:  # there are no four bytes more
            return None, 0
        if first != 0xFF or length < 2:
            return None, len(content)
        end = place + 2 + length
        if marker == HUFFMAN:
            tables |= huffman_tables(content[place + 4 : end])
        elif marker in TABLES:
            pass
        elif marker == SCAN:
            # One scan of all components: only then does simplejpeg notice all that is missing.
            scan = content[place + 4 : end]
            if scan[:1] != frame[5:6] or not tables.issuperset(_tables_of(scan)):
                return None, end
            return _header(frame, bare), end
        elif marker == FRAME and not frame:
            frame = content[place + 4 : end]
        elif marker in REMARKS:
            bare = bare and marker == JFIF and length == JFIF_LENGTH
        else:
            return None, end
        place = end


_before_pixels = functools.lru_cache(_walked)


@functools.lru_cache
def huffman_tables(body: bytes) -> frozenset[int]:
    """The tables that a segment brings: their number, and 16 more for those of AC coefficients."""
    place, found = 0, set()
    while place + 17 <= len(body):
        found.add(body[place])
        place += 17 + sum(body[place + 1 : place + 17])
    return frozenset(found) if place == len(body) else frozenset()


@functools.lru_cache
def _tables_of(scan: bytes) -> frozenset[int]:
    """The tables that a baseline scan of these components needs."""
    chosen = scan[2 : 1 + 2 * scan[0] : 2]
    return frozenset({one >> 4 for one in chosen} | {one & 15 | AC for one in chosen})


def _header(frame: bytes, bare: bool) -> JpegHeader | None:
    # Bits, height and width of two bytes each, number of components; three bytes for each.
    if len(frame) not in (9, 15) or frame[0] != 8 or len(frame) != 6 + 3 * frame[5]:
        return None
    subsampling = FACTORS.get(frame[7::3])
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    if subsampling is None or not height or not width:
        return None
    return JpegHeader(height=height, width=width, subsampling=subsampling, bare=bare)


def in_text_mode(content: bytes) -> bool:
    """Whether a transfer in text mode has put a carriage return before each line feed.

    That leaves none without one. By chance it is so once in 256 times for each line feed, so that
    a few must be there.
    """
    first = content.find(b"\n")
    if content[first - 1 : first] != b"\r":  # nearly always
        return False
    returns = content.count(b"\r\n")
    return returns >= FEW and returns == content.count(b"\n")


def decode_jpeg(content: bytes, header: JpegHeader) -> np.ndarray[Any, Any] | None:
    """The pixels as Pillow gives them; None where that isn't sure.

    Args:
        content: The file.
        header: What `jpeg_header` says about it.

    Returns:
        Whole numbers of 8 bits: of shape (height, width) for grey, else (height, width, 3).
    """
    if in_text_mode(content) or not agrees(header.subsampling):
        return None
    return _decoded(content, header.subsampling)


def _decoded(content: bytes, subsampling: Subsampling) -> np.ndarray[Any, Any] | None:
    import simplejpeg

    grey = subsampling == "Gray"
    try:
        # Strict: an error also where libjpeg-turbo would only warn, as of damaged data.
        values: np.ndarray[Any, Any] = simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB")
    except ValueError:
        return None
    return values[..., 0] if grey else values


@functools.cache
def agrees(subsampling: Subsampling) -> bool:
    """Whether the two libraries that are installed here give the same values for this kind.

    They bring a libjpeg of their own each. One drawn image is decoded by both, once in a
    process: it takes a millisecond, and where they differ, that kind stays with Pillow.
    """
    from io import BytesIO

    import numpy as np
    import simplejpeg
    from PIL import Image

    random = np.random.default_rng(0)
    # Coarse and fine structure, and sides that fill no block.
    shape = (43, 61, 1 if subsampling == "Gray" else 3)
    coarse = random.integers(0, 200, (6, 8, shape[2])).repeat(8, axis=0).repeat(8, axis=1)
    drawn = (coarse[: shape[0], : shape[1]] + random.integers(0, 56, shape)).astype(np.uint8)
    content = simplejpeg.encode_jpeg(
        drawn,
        quality=90,
        colorspace="GRAY" if subsampling == "Gray" else "RGB",
        colorsubsampling=subsampling,
    )
    found = _decoded(content, subsampling)
    with Image.open(BytesIO(content), formats=("JPEG",)) as image:
        return found is not None and np.array_equal(found, np.array(image))
