"""Read the tags of a TIFF file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR, LAB = 0, 1, 2, 3, 4, 5, 6, 8
COLOURS: dict[int, Any] = {RGB: "RGB", CMYK: "CMYK", YCBCR: "YCbCr", LAB: "Lab"}
UNSIGNED, SIGNED, FLOAT, VOID, COMPLEX_INTEGER, COMPLEX = range(1, 7)
SUPPORT = "Save it as an uncompressed grey or RGB TIFF, or as PNG."
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
TEXTS = frozenset({1, 2, 7})
"""The types whose values are taken as bytes."""
NUMBERS: dict[int, tuple[str, int | None]] = {
    254: ("NewSubfileType", 0),
    255: ("SubfileType", 0),
    256: ("ImageWidth", None),
    257: ("ImageLength", None),
    259: ("Compression", 1),
    262: ("PhotometricInterpretation", None),
    266: ("FillOrder", 1),
    274: ("Orientation", 1),
    277: ("SamplesPerPixel", 1),
    278: ("RowsPerStrip", (1 << 32) - 1),
    284: ("PlanarConfiguration", 1),
    292: ("T4Options", 0),
    293: ("T6Options", 0),
    317: ("Predictor", 1),
    322: ("TileWidth", None),
    323: ("TileLength", None),
    332: ("InkSet", 1),
    513: ("JPEGInterchangeFormat", None),
    514: ("JPEGInterchangeFormatLength", None),
    32997: ("ImageDepth", 1),
}
"""Tags of a single number, by their code: the name and the default."""
LISTS: dict[int, str] = {
    258: "BitsPerSample",
    273: "StripOffsets",
    279: "StripByteCounts",
    320: "ColorMap",
    324: "TileOffsets",
    325: "TileByteCounts",
    330: "SubIFDs",
    338: "ExtraSamples",
    339: "SampleFormat",
    530: "YCbCrSubSampling",
}
BYTES: dict[int, str] = {270: "ImageDescription", 347: "JPEGTables"}
RATIONALS: dict[int, str] = {529: "YCbCrCoefficients", 532: "ReferenceBlackWhite"}
MOST_PAGES = 1 << 16
"""How many pages are read at most: with so many there is more than one anyway."""


@attrs.frozen(kw_only=True)
class Page:
    """One page (IFD) of a TIFF file.

    Attributes:
        order: ``"<"`` or ``">"``: how the bytes of a number follow each other.
        tags: Numbers, tuples of numbers, and bytes, by the tag's name.
        ascending: Whether the tags' codes ascend, as they must.
        spans: The first byte, and the one behind the last, of the tags themselves and of the
            values that lie elsewhere.
    """

    order: str
    tags: dict[str, Any]
    ascending: bool
    spans: tuple[tuple[int, int], ...]

    def number(self, name: str) -> int | None:
        """The tag's value, or its default."""
        found: int | None = self.tags.get(name, DEFAULTS[name])
        return found

    def numbers(self, name: str) -> tuple[Any, ...]:
        """The tag's values; none where it is absent."""
        found: tuple[Any, ...] = self.tags.get(name, ())
        return found

    def is_copy(self) -> bool:
        """Whether it says that it is a smaller copy, or a mask, of another page."""
        return bool((self.number("NewSubfileType") or 0) & 5) or self.number("SubfileType") == 2


DEFAULTS = dict(NUMBERS.values())


def tiff_pages(content: bytes, path: str | os.PathLike[str]) -> list[Page]:
    """All pages, and those within smaller copies (SubIFDs).

    What lies within a page that is no copy describes that page: copies of it, and masks.

    Raises:
        DataError: A page or the values of a tag lie outside the file, or a tag is no number.
    """
    order = "<" if content.startswith(b"II") else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    if big and content[4:8] != struct.pack(order + "HH", 8, 0):
        raise _broken(path, "its BigTIFF header doesn't say offsets of 8 bytes")
    if len(content) < (16 if big else 8):
        raise _broken(path, "it ends within its header", kind="truncated")
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    pages: list[Page] = []
    waiting, seen = [first], set[int]()
    while waiting and len(pages) < MOST_PAGES:
        place = waiting.pop(0)
        if place in seen:  # a cycle
            continue
        seen.add(place)
        page, following = _page(content, place, order, path, big=big)
        pages.append(page)
        if page.is_copy():  # the picture itself may lie within its preview
            waiting += page.numbers("SubIFDs")
        if following:
            waiting.append(following)
    return pages


def _page(
    content: bytes, place: int, order: str, path: str | os.PathLike[str], *, big: bool
) -> tuple[Page, int]:
    """The page at a place of the file, and the place of the next one, or 0."""
    counted, entry, offset = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    head, size = struct.calcsize(order + counted), struct.calcsize(order + entry + offset)
    link = struct.calcsize(order + offset)
    if place < 8 or place + head > len(content):
        raise _broken(path, f"its page (IFD) at byte {place} lies outside it", kind="truncated")
    (count,) = struct.unpack_from(order + counted, content, place)
    end = place + head + count * size
    if not count or end + link > len(content):
        reason = f"its page (IFD) at byte {place} of {count} tags goes beyond its end"
        raise _broken(path, reason, kind="truncated")
    tags: dict[str, Any] = {}
    codes: list[int] = []
    spans = [(place, end + link)]
    for start in range(place + head, end, size):
        code, kind, length = struct.unpack_from(order + entry, content, start)
        codes.append(code)
        value = start + size - link
        found = _tag(content, (code, kind, length), value, order + offset, path, spans)
        for name, values in found:
            if name in tags:
                raise _broken(path, f"it says {name} twice")
            tags[name] = values
    (following,) = struct.unpack_from(order + offset, content, end)
    ascending = codes == sorted(codes)
    page = Page(order=order, tags=tags, ascending=ascending, spans=tuple(spans))
    return page, following


def _tag(
    content: bytes,
    told: tuple[int, int, int],
    place: int,
    pointer: str,
    path: str | os.PathLike[str],
    spans: list[tuple[int, int]],
) -> Iterator[tuple[str, Any]]:
    """The name and the values of one tag, where it is one that says something of the pixels."""
    code, kind, count = told
    order = pointer[0]
    name = LISTS.get(code) or BYTES.get(code) or RATIONALS.get(code) or _title(code)
    if name is None:
        return
    form: str | None
    if code in RATIONALS:
        form = {5: "II", 10: "ii", 11: "f", 12: "d"}.get(kind)
    elif code in BYTES:
        form = "B" if kind in TEXTS else None
    else:
        form = INTEGERS.get(kind)
    if form is None or not count:
        raise _broken(path, f"its tag {name} is of the type {kind} with {count} values")
    size = struct.calcsize(order + form) * count
    if size > struct.calcsize(pointer):
        (place,) = struct.unpack_from(pointer, content, place)
        spans.append((place, place + size))
    if place + size > len(content):
        raise _broken(path, f"the values of its tag {name} lie outside it", kind="truncated")
    if code in BYTES:
        yield name, content[place : place + size]
        return
    values = struct.unpack_from(
        f"{order}{form * count if code in RATIONALS else f'{count}{form}'}", content, place
    )
    if code in RATIONALS and len(form) == 2:
        values = tuple(
            top / bottom if bottom else float("nan")
            for top, bottom in zip(values[::2], values[1::2], strict=True)
        )
    if code in NUMBERS:
        if count != 1:
            raise _broken(path, f"its tag {name} has {count} values, not one")
        yield name, values[0]
        return
    yield name, values


def _title(code: int) -> str | None:
    return NUMBERS[code][0] if code in NUMBERS else None


def _broken(
    path: str | os.PathLike[str], reason: str, *, kind: Any = "damaged"
) -> UnreadableImageError:
    return UnreadableImageError(path, f"is damaged: {reason}", kind=kind)
