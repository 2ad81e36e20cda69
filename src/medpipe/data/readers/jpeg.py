"""Decode JPEG files, and refuse those at which libjpeg warns.

Pillow ignores libjpeg's warnings: truncated or damaged data silently become grey blocks. simplejpeg
raises an error for each of them, so it decodes every file, also where Pillow gives the values. What
no warning tells is checked here: whether every component has its scans, whether the scans of a
progressive file bring every bit, and whether there is an end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_pixels
from medpipe.data.readers.exif import orientation
from medpipe.data.readers.fast_jpeg import AC, HUFFMAN, SCAN, agrees, huffman_tables, in_text_mode
from medpipe.data.readers.raster import Raster
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np

    from medpipe.data.readers.fast_jpeg import Subsampling

END_MARKER = 0xD9
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""The markers of frames; the last is JPEG-LS'."""
DCT = {0xC0: False, 0xC1: False, 0xC2: True, 0xC9: False, 0xCA: True}
"""The frames that libjpeg decodes to 8 bits, and whether they are progressive."""
ARITHMETIC = frozenset({0xC9, 0xCA})
ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
"""Markers without a length."""
AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""What ends the data of a scan: a marker that is no restart."""
MANGLED = "a transfer in text mode has put a carriage return (0D) before each line feed (0A)"
PROFILE = b"ICC_PROFILE\0"
"""What the segments of a colour profile begin with."""
NOT_DAMAGED = ("determine subsampling", "not implemented", "unsupported", "not supported")
"""Errors of simplejpeg for files that it doesn't decode, though they may be sound."""


@attrs.frozen(kw_only=True)
class Frame:
    """What a JPEG file says of its picture.

    Attributes:
        process: The marker of the frame: baseline, progressive, and so on.
        bits: Of a sample.
        height: In pixels.
        width: In pixels.
        factors: The sampling factors of each component, by its number.
    """

    process: int
    bits: int
    height: int
    width: int
    factors: Mapping[int, int]


def jpeg_raster(content: bytes, path: str | os.PathLike[str]) -> Raster:
    """The values of a JPEG file, the first picture of one that holds several.

    Raises:
        DataError: libjpeg warns of its data, parts of it are missing, or it is of a kind that
            can't be checked for such warnings, or too large.
    """
    from io import BytesIO

    from PIL.JpegImagePlugin import JpegImageFile

    if in_text_mode(content):
        raise _broken(path, MANGLED)
    frame = jpeg_frame(content, path)
    refuse_pixels(path, frame.width, frame.height)
    heard, values = _heard(content, frame, path)
    with JpegImageFile(BytesIO(content)) as image:
        turn = orientation(image)
        if values is None or image.mode not in ("L", "RGB") or not agrees(heard):
            import numpy as np

            image.load()
            values = np.array(image)
        mode = image.mode
    colours: Any = {"L": None, "RGB": "RGB", "CMYK": "CMYK"}[mode]
    return Raster(values=values, colours=colours, orientation=turn)


def _heard(
    content: bytes, frame: Frame, path: str | os.PathLike[str]
) -> tuple[Subsampling, np.ndarray[Any, Any] | None]:
    """Decode with an error for each warning; return subsampling and values, for CMYK no values."""
    import simplejpeg

    space = {1: "GRAY", 3: "RGB", 4: "CMYK"}[len(frame.factors)]
    content = without_profile(content)
    try:
        *_, subsampling = simplejpeg.decode_jpeg_header(content)
        values = simplejpeg.decode_jpeg(content, space)
    except ValueError as error:
        said = " ".join(str(error).split()).strip(" .")
        if any(word in said.lower() for word in NOT_DAMAGED):
            factors = ", ".join(f"{one >> 4}x{one & 15}" for one in frame.factors.values())
            raise UnreadableImageError(
                path,
                f"is a JPEG of a kind (components sampled {factors}) whose data can't be checked",
                "Save it as PNG, or as JPEG without subsampling.",
            ) from error
        cut = "premature end" in said.lower()
        raise _broken(path, said, kind="truncated" if cut else "damaged") from error
    if space == "CMYK":
        return subsampling, None
    return subsampling, values[..., 0] if space == "GRAY" else values


def jpeg_frame(content: bytes, path: str | os.PathLike[str]) -> Frame:
    """What the file says of its picture, after a walk through all its segments and scans.

    Raises:
        DataError: It has no frame or no end, lacks scans, or is of a kind that isn't decoded.
    """
    frame: Frame | None = None
    scans: list[tuple[bytes, bytes]] = []
    tables: frozenset[int] = frozenset()
    place = 2
    while True:
        marker, place = _marker(content, place, path)
        if marker == END_MARKER:
            break
        if marker in ALONE:
            continue
        length = int.from_bytes(content[place : place + 2], "big")
        body = content[place + 2 : place + length]
        if length < 2 or len(body) != length - 2:
            raise _broken(path, f"it ends within a segment (marker {marker:02X})", kind="truncated")
        place += length
        if marker in FRAMES:
            if frame is not None:
                raise _broken(path, "it has a second frame")
            frame = _frame(marker, body, path)
        elif marker == HUFFMAN:
            tables |= huffman_tables(body)
        elif marker == SCAN:
            if not body or len(body) != 4 + 2 * body[0]:
                raise _broken(path, "a scan's header has another length than its components need")
            if frame is not None and frame.process not in ARITHMETIC:
                _check_tables(body, tables, path)
            scans.append((body[1 : 1 + 2 * body[0] : 2], body[-3:]))
            found = AFTER_SCAN.search(content, place)
            if found is None:
                raise _broken(path, "it ends without an end marker", kind="truncated")
            place = found.start()
    if frame is None or not scans:
        raise _broken(path, "it holds no picture", kind="truncated")
    _check_scans(frame, scans, path)
    return frame


def without_profile(content: bytes) -> bytes:
    """The file without its colour profile, which is not used and may cause warnings of libjpeg."""
    if PROFILE not in content:
        return content
    kept, place = [content[:2]], 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":
        length = 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place : place + length]
        kept.append(b"" if segment[4:].startswith(PROFILE) else segment)
        place += length
    return b"".join([*kept, content[place:]])


def _marker(content: bytes, place: int, path: str | os.PathLike[str]) -> tuple[int, int]:
    """The next marker and the place behind it; any number of bytes FF may go before it."""
    start = place
    while place < len(content) and content[place] == 0xFF:
        place += 1
    if place >= len(content):
        raise _broken(path, "it ends without an end marker", kind="truncated")
    if place == start or content[place] == 0:
        raise _broken(path, f"at byte {start} there is no marker")
    return content[place], place + 1


def _frame(marker: int, body: bytes, path: str | os.PathLike[str]) -> Frame:
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise _broken(path, "its frame has another length than its components need")
    factors = dict(zip(body[6::3], body[7::3], strict=True))
    frame = Frame(
        process=marker,
        bits=body[0],
        height=int.from_bytes(body[1:3], "big"),
        width=int.from_bytes(body[3:5], "big"),
        factors=factors,
    )
    if marker not in DCT or frame.bits != 8 or body[5] not in (1, 3, 4):
        what = "lossless or hierarchical" if marker not in DCT else "lossy"
        raise UnreadableImageError(
            path,
            f"is a {what} JPEG of {frame.bits} bits and {body[5]} components (frame {marker:02X}), "
            "which isn't decoded",
            "Save it as PNG or TIFF.",
        )
    if len(factors) != body[5] or not frame.height or not frame.width:
        raise _broken(path, f"its frame says {frame.width} x {frame.height} pixels, {factors}")
    return frame


def _check_tables(body: bytes, tables: frozenset[int], path: str | os.PathLike[str]) -> None:
    """Check that the tables that a scan names are there; libjpeg would take the standard ones."""
    first, last, bits = body[-3:]
    needed = set()
    for one in body[2 : 1 + 2 * body[0] : 2]:
        if first == 0 and not bits >> 4:  # refinements of DC values are plain bits
            needed.add(one >> 4)
        if last > 0:
            needed.add(one & 15 | AC)
    missing = needed - tables
    if missing:
        told = ", ".join(f"{'AC' if one & AC else 'DC'} {one & 15}" for one in sorted(missing))
        raise _broken(path, f"Huffman tables of a scan are missing ({told})")


def _check_scans(
    frame: Frame, scans: list[tuple[bytes, bytes]], path: str | os.PathLike[str]
) -> None:
    """Check that no scan of a component is missing; a decoder would make up its data."""
    progressive = DCT[frame.process]
    for component in frame.factors:
        # The lowest bit that has come of each coefficient; nothing has of those without one.
        lowest: dict[int, int] = {}
        for components, (first, last, bits) in scans:
            if component in components:
                band = range(first, last + 1) if progressive else range(64)
                lowest.update(dict.fromkeys(band, bits & 15 if progressive else 0))
        if len(lowest) < 64 or any(lowest.values()):
            reason = f"scans of its component {component} are missing"
            raise _broken(path, reason, kind="truncated")


def _broken(
    path: str | os.PathLike[str], reason: str, *, kind: Any = "damaged"
) -> UnreadableImageError:
    return UnreadableImageError(path, f"is damaged: {reason}", kind=kind)
