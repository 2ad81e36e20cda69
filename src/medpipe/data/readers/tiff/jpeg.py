"""JPEG-compressed strips and tiles of TIFF files."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from medpipe.data.readers.fast_jpeg import SCAN
from medpipe.data.readers.jpeg import jpeg_frame
from medpipe.data.readers.tiff.data import broken
from medpipe.data.readers.tiff.tags import CMYK, RGB, SUPPORT, UNSIGNED, YCBCR
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import numpy as np

    from medpipe.data.readers.tiff.data import Segment
    from medpipe.data.readers.tiff.tags import Page

REMARKS = frozenset({*range(0xE0, 0xF0), 0xFE})
"""What would say otherwise than the TIFF which colours a stream has."""
ADOBE = struct.Struct(">HH5sHHHB")


def jpeg_segments(
    page: Page,
    layout: Any,
    segments: list[Segment],
    shape: tuple[int, int],
    path: str | os.PathLike[str],
) -> list[np.ndarray[Any, Any]]:
    """The values of each strip or tile, with an error for each warning of libjpeg.

    Colours that are stored as YCbCr become RGB.

    Raises:
        DataError: A stream is damaged, or of another size or number of components than the tags.
    """
    import simplejpeg

    columns, samples = shape
    spaces = {3: (RGB, YCBCR), 4: (RGB, CMYK)}
    # Four components are left as they are, be they inks or colours and alpha.
    space = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(samples)
    fits = samples == 1 or layout.photometric in spaces.get(samples, ())
    if space is None or not fits or layout.bits != 8 or layout.form != UNSIGNED:
        raise UnreadableImageError(
            path,
            f"is compressed as JPEG of {samples} samples of {layout.bits} bits "
            f"(PhotometricInterpretation {layout.photometric}), which isn't decoded",
            SUPPORT,
        )
    if layout.photometric == YCBCR and layout.planar:
        raise broken(path, "it has YCbCr colours apart (PlanarConfiguration 2)")
    tables = page.tags.get("JPEGTables", b"")
    if tables and (tables[:2], tables[-2:]) != (b"\xff\xd8", b"\xff\xd9"):
        raise broken(path, "its JPEGTables are incomplete")
    # Adobe's segment says which colours the components are: YCbCr, or these themselves.
    transform = 1 if layout.photometric == YCBCR else 0
    said = b"" if samples == 1 else ADOBE.pack(0xFFEE, 14, b"Adobe", 100, 0, 0, transform)
    found = []
    for number, segment in enumerate(segments):
        kept = b"".join(_kept(segment.data, number, path))
        stream = b"\xff\xd8" + said + tables[2:-2] + kept
        frame = jpeg_frame(stream, path)
        sizes = {(segment.rows, columns), (segment.full, columns)}
        if (frame.height, frame.width) not in sizes or len(frame.factors) != samples:
            told = f"{frame.width} x {frame.height} pixels of {len(frame.factors)} components"
            wanted = f"{columns} x {segment.rows} of {samples}"
            raise broken(path, f"its strip or tile {number} is a JPEG of {told}, not {wanted}")
        try:
            values = simplejpeg.decode_jpeg(stream, space)
        except ValueError as error:
            told = " ".join(str(error).split()).strip(" .")
            raise broken(path, f"its strip or tile {number}: {told}") from error
        found.append(values[: segment.rows])
    return found


def _kept(data: bytes, number: int, path: str | os.PathLike[str]) -> Iterator[bytes]:
    """A stream from behind its first marker on, without the segments of applications."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == SCAN:
            yield data[place:]
            return
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker not in REMARKS:
            yield data[place : place + 2 + length]
        place += 2 + length
    raise broken(path, f"its strip or tile {number} is not a JPEG stream")
