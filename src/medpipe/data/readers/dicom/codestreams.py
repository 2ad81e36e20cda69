"""The compressed frames of a DICOM file, and what each codestream's header says."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from struct import unpack, unpack_from
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

Colours = Literal["rgb", "ycc"]

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
JPEG, JPEG_2000, JP2 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
# Within compressed data 0xFF is followed by 0x00 (JPEG), by less than 0x80 (JPEG-LS) or is one of
# the eight marks of a restart.
MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}


class FrameError(ValueError):
    """Frames contradict the header: the message is the end of a sentence about the file."""


@attrs.frozen(kw_only=True)
class Codestream:
    """The header of a compressed frame.

    Attributes:
        kind: The marker of JPEG's frame header (0xF7 for JPEG-LS); 0 for JPEG 2000.
        height: Its rows.
        width: Its columns.
        components: How many samples each pixel has.
        precision: The bits of a sample.
        signed: Whether samples are signed; None where this kind can't say.
        colours: The colour space of three components; None where it doesn't say.
        mixed: For JPEG 2000: whether a colour transform is undone while it is decoded.
        adobe: Whether it has Adobe's marker.
    """

    kind: int
    height: int
    width: int
    components: int
    precision: int
    signed: bool | None = None
    colours: Colours | None = None
    mixed: bool = False
    adobe: bool = False


def frames_of(dataset: Dataset, count: int, *, run_length: bool) -> list[bytes]:
    """The compressed frames of a file.

    Args:
        dataset: The file.
        count: How many frames its header says.
        run_length: Whether they are compressed by RLE, one fragment each.

    Raises:
        FrameError: Their number is another, or the table of their offsets contradicts them.
    """
    parts = _parts(dataset.PixelData)
    table, fragments = parts[0][1], parts[1:]
    if not fragments:
        raise FrameError("holds no compressed frame")
    first = fragments[0][0]
    starts = [
        number
        for number, (_, content) in enumerate(fragments)
        if run_length or content.startswith((JPEG, JPEG_2000, JP2))
    ]
    if not starts or starts[0] != 0:
        raise FrameError("has pixel data that don't begin as its transfer syntax says")
    if len(starts) != count:
        frames = "frame" if count == 1 else "frames"
        raise FrameError(f"holds {len(starts)} compressed frames, but says {count} {frames}")
    offsets = [fragments[number][0] - first for number in starts]
    if table and (len(table) % 4 or [*unpack(f"<{len(table) // 4}L", table)] != offsets):
        raise FrameError("has a Basic Offset Table that contradicts its frames")
    ends = [*starts[1:], len(fragments)]
    frames_found = [
        b"".join(content for _, content in fragments[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]
    _check_extended(dataset, offsets, [len(frame) for frame in frames_found], table)
    return frames_found


def _check_extended(
    dataset: Dataset, offsets: Sequence[int], lengths: Sequence[int], table: bytes
) -> None:
    extended = dataset.get("ExtendedOffsetTable")
    sizes = dataset.get("ExtendedOffsetTableLengths")
    if not extended and not sizes:
        return
    size = 8 * len(offsets)
    if table or not extended or not sizes or (len(extended), len(sizes)) != (size, size):
        raise FrameError("has an Extended Offset Table that contradicts its frames")
    said = zip(unpack(f"<{len(offsets)}Q", sizes), lengths, strict=True)
    # An odd frame has a byte of padding, which its length may or may not count.
    if [*unpack(f"<{len(offsets)}Q", extended)] != [*offsets] or any(
        length - said_length not in (0, 1) for said_length, length in said
    ):
        raise FrameError("has an Extended Offset Table that contradicts its frames")


def _parts(content: bytes) -> list[tuple[int, bytes]]:
    """The items of encapsulated pixel data, each with where it begins."""
    parts, place = [], 0
    while place < len(content):
        tag = content[place : place + 4]
        if tag == DELIMITER:
            break
        if tag != ITEM or place + 8 > len(content):
            raise FrameError("has compressed pixel data that are not made of fragments")
        (length,) = unpack_from("<L", content, place + 4)
        end = place + 8 + length
        if end > len(content):
            raise FrameError("is truncated: a fragment of its pixel data ends too early")
        parts.append((place, content[place + 8 : end]))
        place = end
    if not parts:
        raise FrameError("holds no compressed frame")
    return parts


def codestream_of(frame: bytes) -> Codestream:
    """Read the header of a frame of JPEG, JPEG-LS or JPEG 2000.

    Raises:
        FrameError: It is cut off, or holds more than one image.
    """
    try:
        return _jpeg(frame) if frame.startswith(JPEG) else _jpeg_2000(frame)
    except (struct.error, IndexError) as error:
        raise FrameError("is truncated: a compressed frame ends within its header") from error


def _jpeg(frame: bytes) -> Codestream:
    found: Codestream | None = None
    colours: Colours | None = None
    jfif = adobe = halved = False
    place = 2
    while True:
        while frame[place : place + 2] == b"\xff\xff":
            place += 1
        if place + 2 > len(frame):
            raise FrameError("is truncated: a compressed frame has no end")
        mark, code = frame[place], frame[place + 1]
        if mark != 0xFF:
            raise FrameError("is damaged: a compressed frame has something between its segments")
        if code == 0xD9:
            break
        (length,) = unpack_from(">H", frame, place + 2)
        body = frame[place + 4 : place + 2 + length]
        if code in FRAME_HEADERS:
            if found is not None:
                raise FrameError("is damaged: a compressed frame has two headers")
            precision, height, width, components = unpack_from(">BHHB", body)
            ids = bytes(body[6 + 3 * number] for number in range(components))
            if ids in (b"RGB", b"rgb"):
                colours = "rgb"
            # Of red, green and blue none has fewer samples than the others.
            halved = len({body[7 + 3 * number] for number in range(components)}) > 1
            found = Codestream(
                kind=code, height=height, width=width, components=components, precision=precision
            )
        jfif |= code == 0xE0 and body.startswith(b"JFIF\0")
        if code == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = True
            colours = "ycc" if body[11] else "rgb"
        place += 2 + length
        if code == 0xDA:
            after = MARKER.search(frame, place)
            if after is None:
                raise FrameError("is truncated: a compressed frame has no end")
            place = after.start()
    _refuse_rest(frame[place + 2 :])
    if found is None:
        raise FrameError("is damaged: a compressed frame has no header")
    if colours is None and (jfif or halved):
        colours = "ycc"
    return attrs.evolve(found, colours=colours, adobe=adobe)


def _jpeg_2000(frame: bytes) -> Codestream:
    start = frame.find(JPEG_2000)
    if start < 0:
        raise FrameError("is damaged: a compressed frame has no header")
    right, bottom, left, top = unpack_from(">4L", frame, start + 8)
    (components,) = unpack_from(">H", frame, start + 40)
    parts = {unpack_from(">3B", frame, start + 42 + 3 * number) for number in range(components)}
    if len(parts) != 1 or {part[1:] for part in parts} != {(1, 1)}:
        raise FrameError("has compressed frames whose channels differ in size or bits")
    depth = parts.pop()[0]
    mixed = False
    place = start + 2
    while True:
        code = frame[place : place + 2]
        if code == b"\xff\xd9":
            break
        if len(code) < 2 or code[0] != 0xFF:
            raise FrameError("is truncated: a compressed frame has no end")
        (length,) = unpack_from(">H", frame, place + 2)
        if code == b"\xff\x52":
            mixed = frame[place + 8] == 1
        if code == b"\xff\x90":  # a tile: its length counts from here, 0 goes up to the end
            (length,) = unpack_from(">L", frame, place + 6)
            end = frame.rfind(b"\xff\xd9") if length == 0 else place + length
            if not place < end <= len(frame):
                raise FrameError("is truncated: a compressed frame has no end")
            place = end
        else:
            place += 2 + length
    if not start:
        _refuse_rest(frame[place + 2 :])
    return Codestream(
        kind=0,
        height=bottom - top,
        width=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        mixed=mixed,
    )


def _refuse_rest(rest: bytes) -> None:
    """Refuse what follows the end of a frame, unless it is padding."""
    if rest.strip(b"\0") not in (b"", b"\xff"):
        raise FrameError(f"has {len(rest)} bytes after the end of a compressed frame")


def check_run_lengths(frame: bytes, segments: int, length: int) -> None:
    """Check a frame compressed by RLE (PS3.5 G).

    Args:
        frame: The frame.
        segments: How many it should have: one for each byte of a pixel.
        length: The bytes that each should hold.

    Raises:
        FrameError: Its segments are others.
    """
    if len(frame) < 64:
        raise FrameError("is truncated: a compressed frame ends within its header")
    count, *offsets = struct.unpack("<16L", frame[:64])
    if count != segments:
        raise FrameError(f"has {count} segments in a compressed frame, which should be {segments}")
    if offsets[0] != 64 or any(one >= other for one, other in pairwise(offsets[:count])):
        raise FrameError("has segments in a compressed frame that don't follow each other")
    if any(offsets[count:]) or offsets[count - 1] >= len(frame):
        raise FrameError("has segments in a compressed frame that lie outside of it")
    for start, end in zip(offsets, [*offsets[1:count], len(frame)], strict=False):
        found = _run_length(frame, start, end, length)
        if found != length:
            raise FrameError(f"has {found} bytes in a segment of a frame, which should be {length}")


def _run_length(frame: bytes, place: int, end: int, enough: int) -> int:
    """The bytes that a segment holds; more than enough where something comes after them."""
    found = 0
    while place < end and found < enough:
        code = frame[place]
        if code < 128:  # so many bytes as they are
            place += code + 2
            if place > end:
                return found
            found += code + 1
        elif code > 128:  # one byte so many times
            place += 2
            found += 257 - code
        else:
            place += 1
    return found if end - place <= 1 or not frame[place:end].strip(b"\0\x80") else found + 1
