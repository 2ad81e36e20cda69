"""BMP files written by hand: sound ones, and ones that contradict themselves."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from formats.expected import READINGS, Picture, right
from formats.written import Small, Written
from medpipe.steps import Reading

DEPTHS = (1, 2, 4, 8, 16, 24, 32)
HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
MASKS: dict[int, tuple[tuple[int, ...], ...]] = {
    16: ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xF00, 0xF0, 0xF, 0xF000), (7, 56, 192)),
    32: (
        (0xFF0000, 0xFF00, 0xFF),
        (0xFF000000, 0xFF0000, 0xFF00),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0x3F, 0x3F000, 0xFC0000),
    ),
}
CONTRADICTIONS = (
    "cut",
    "taller",
    "wider",
    "negative width",
    "no height",
    "two planes",
    "depth",
    "compression",
    "length of the header",
    "pixels within the header",
    "pixels beyond the end",
    "too many colours",
    "index beyond the palette",
    "mask with a gap",
    "mask of nothing",
    "size of the pixels",
    "run beyond the row",
    "row left unfinished",
    "jump over pixels",
    "no end of the runs",
)


def runs(rows: np.ndarray[Any, Any], halves: bool, draw: Any) -> bytes:
    """Rows of indices as run lengths, some of them stored as they are."""
    data = b""
    for row in rows.tolist():
        place = 0
        while place < len(row):
            left = len(row) - place
            if left >= 3 and draw(st.booleans()):  # three or more as they are
                count = draw(st.integers(3, min(left, 255)))
                part = row[place : place + count]
                if halves:
                    pairs = [*part, 0][: count + count % 2]
                    body = bytes(a << 4 | b for a, b in zip(pairs[::2], pairs[1::2], strict=True))
                else:
                    body = bytes(part)
                data += bytes([0, count]) + body + bytes(len(body) % 2)
            else:
                one = row[place]
                other = row[place + 1] if halves and left > 1 else one
                count = 1
                while count < min(left, 255) and row[place + count] == (one, other)[count % 2]:
                    count += 1
                data += bytes([count, one << 4 | other if halves else one])
            place += count
        data += b"\0\0"
    return data[:-2] + b"\0\1" if draw(st.booleans()) else data + b"\0\1"


def rows_of(values: np.ndarray[Any, Any], bits: int) -> bytes:
    """Rows of pixels as whole numbers, each filled up to four bytes."""
    data = b""
    for row in values.tolist():
        if bits < 8:
            digits = "".join(f"{value:0{bits}b}" for value in row)
            digits += "0" * (-len(digits) % 8)
            body = int(digits, 2).to_bytes(len(digits) // 8, "big")
        else:
            body = b"".join(value.to_bytes(bits // 8, "little") for value in row)
        data += body + bytes(-len(body) % 4)
    return data


def spread(pixels: np.ndarray[Any, Any], masks: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The colours that masks take from pixels, over 0 to 255 and rounded down."""
    bands = []
    for mask in masks:
        low = (mask & -mask).bit_length() - 1
        top = mask >> low
        bands.append(
            [[(value >> low & top) * 255 // top for value in row] for row in pixels.tolist()]
        )
    return np.moveaxis(np.array(bands, np.uint8).reshape(len(masks), *pixels.shape), 0, -1)


@st.composite
def files(draw: Any) -> Written:
    """A file, and what is right for it."""
    bits, size = draw(st.sampled_from(DEPTHS)), draw(st.sampled_from(HEADERS))
    if size == 12:
        bits = draw(st.sampled_from([1, 2, 4, 8, 24]))
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    reading = draw(READINGS)
    wrong = draw(st.one_of(st.none(), st.sampled_from(CONTRADICTIONS)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top_down = size not in (12, 16) and draw(st.booleans())
    rle = bits in (4, 8) and size not in (12, 16) and draw(st.booleans())
    if rle:
        top_down = False
    fields = bits in MASKS and size in (40, 52, 56, 108, 124) and draw(st.booleans())
    masks = draw(st.sampled_from(MASKS[bits])) if fields else ()
    if len(masks) == 4 and size == 52:
        masks = masks[:3]
    alpha_field = len(masks) == 4 and size == 40

    entries = draw(st.integers(1, 1 << bits)) if bits <= 8 else 0
    if size in (12, 16):  # there is no room to say how many
        entries = 1 << bits if bits <= 8 else 0
    grey = bits in (1, 8) and draw(st.booleans())
    palette = random.integers(0, 256, (entries, 3), np.uint8)
    if grey:
        entries = 1 << bits
        steps = np.array([0, 255]) if bits == 1 else np.arange(256)
        palette = np.repeat(steps[:, None], 3, axis=1).astype(np.uint8)
    if bits <= 8:
        pixels = random.integers(0, entries, (height, width))
        if rle and draw(st.booleans()):
            pixels = np.sort(pixels, axis=1)
        if wrong == "index beyond the palette":
            if entries == 1 << bits:
                wrong = None
            else:
                pixels[0, 0] = entries
    else:
        pixels = random.integers(0, 1 << bits, (height, width))
        if wrong == "index beyond the palette":
            wrong = None

    stored = pixels if top_down else pixels[::-1]
    data = runs(stored, bits == 4, draw) if rle else rows_of(stored, bits)
    compression = (1 if bits == 8 else 2) if rle else 6 if alpha_field else 3 if masks else 0
    told = draw(st.sampled_from([0, len(data)])) if not rle else len(data)

    told_masks = list(masks)
    if wrong in ("mask with a gap", "mask of nothing"):
        if not masks:
            wrong = None
        else:
            told_masks[0] = 0x505 if wrong == "mask with a gap" else 0
    if wrong in (
        "run beyond the row",
        "row left unfinished",
        "jump over pixels",
        "no end of the runs",
    ):
        if not rle:
            wrong = None
        elif wrong == "run beyond the row":
            data = bytes([width + 1, 0]) + data
        elif wrong == "row left unfinished":
            data = (bytes([width - 1, 0]) if width > 1 else b"") + b"\0\0" + data
        elif wrong == "jump over pixels":
            data = b"\0\2\1\0" + data
        else:
            data = data[:-2]
        told = len(data) if rle else told

    numbers = {"width": width, "height": -height if top_down else height, "planes": 1}
    numbers |= {"bits": bits, "compression": compression}
    if wrong == "taller" and (rle or size == 12):
        wrong = None
    # Small headers have unsigned sizes, and say nothing of compression.
    if size == 12 and wrong in ("negative width", "compression", "size of the pixels"):
        wrong = None
    if size == 16 and wrong in ("compression", "size of the pixels"):
        wrong = None
    if wrong == "wider" and (rle or width % 32 == 0 or size == 12):
        wrong = None
    changed = {"taller": ("height", height + 3), "wider": ("width", width + 64)}
    changed |= {"negative width": ("width", -width), "no height": ("height", 0)}
    changed |= {"two planes": ("planes", 2), "depth": ("bits", 7)}
    changed |= {"compression": ("compression", 11)}
    if wrong in changed:
        name, value = changed[wrong]
        numbers[name] = value
    if wrong == "size of the pixels":
        if rle:
            wrong = None
        told = len(data) + 4 * (4 * width + 4) if wrong else told

    colours = (
        entries if size not in (12, 16) and (entries != 1 << bits or draw(st.booleans())) else 0
    )
    if wrong == "too many colours":
        if size in (12, 16) or bits > 8:
            wrong = None
        else:
            colours = (1 << bits) + 1
    if size == 12:
        rest = struct.pack(
            "<HHHH", *(numbers[one] for one in ("width", "height", "planes", "bits"))
        )
    else:
        rest = struct.pack(
            "<iiHHIIiiII", *numbers.values(), told, 2835, 2835, colours if bits <= 8 else 0, 0
        )[: size - 4]
        if masks and size > 40:
            rest += struct.pack(f"<{len(told_masks)}I", *told_masks)
        rest = rest.ljust(size - 4, b"\0")
    header = struct.pack("<I", 13 if wrong == "length of the header" else size) + rest
    if masks and size == 40:
        header += struct.pack(f"<{len(told_masks)}I", *told_masks)
    table = b"".join(
        bytes(colour[::-1]) + (b"" if size == 12 else b"\0") for colour in palette.tolist()
    )
    # Colours that no pixel can name are passed over, if there is room for them.
    gap = 0 if wrong == "too many colours" else draw(st.sampled_from([0, 0, 4]))
    offset = 14 + len(header) + len(table) + gap
    told_offset = offset
    if wrong == "pixels within the header":
        told_offset = draw(st.integers(0, 14 + len(header) - 1))
    elif wrong == "pixels beyond the end":
        told_offset = offset + len(data) + 1
    start = struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, told_offset)
    content = start + header + table + bytes(gap) + data
    if wrong == "cut":
        content = content[: draw(st.integers(2, len(content) - 1))]
    elif wrong is None and draw(st.integers(0, 4)) == 0:
        content += draw(st.binary(min_size=1, max_size=5))

    values: np.ndarray[Any, Any] | None = None
    if wrong is None:
        values = right(_picture(pixels, bits, palette, masks, grey), reading)
    return Written(
        about=f"{bits=} {size=} {height=} {width=} {top_down=} {rle=} {masks=} {entries=} {grey=} "
        f"{gap=} {wrong=} {reading}",
        content=content,
        values=values,
        channels=values is not None and values.ndim == 3,
        reading=reading,
    )


def _picture(
    pixels: np.ndarray[Any, Any],
    bits: int,
    palette: np.ndarray[Any, Any],
    masks: tuple[int, ...],
    grey: bool,
) -> Picture:
    if bits > 8:
        usual = (0x7C00, 0x3E0, 0x1F) if bits == 16 else (0xFF0000, 0xFF00, 0xFF)
        values = spread(pixels, masks or usual)
        return Picture(stored=values, seen=values[..., :3], colours=True)
    indices = pixels.astype(np.uint8)
    if grey and bits == 1:
        return Picture(stored=indices > 0, seen=indices * np.uint8(255))
    greys = [0, 255] if len(palette) == 2 else list(range(len(palette)))
    if all(colour == [one] * 3 for one, colour in zip(greys, palette.tolist(), strict=True)):
        if len(palette) == 2:
            return Picture(stored=indices > 0, seen=indices * np.uint8(255))
        return Picture(stored=indices, seen=indices)
    return Picture(stored=indices, seen=palette[indices], colours=True)


EXAMPLES = files()


def _small(bits: int, *, rle: bool = False, size: int = 40) -> Small:
    random = np.random.default_rng(bits)
    pixels = random.integers(0, min(1 << bits, 1 << 24), (4, 5))
    palette = random.integers(0, 256, (1 << bits, 4), np.uint8) if bits <= 8 else b""
    if bits == 8:
        palette = palette[:16]  # type: ignore[index]
        pixels = pixels % 16
    table = bytes(palette)
    data = runs(pixels, bits == 4, lambda _: False) if rle else rows_of(pixels, bits)
    entries = len(table) // 4
    fields = (5, 4, 1, bits, (1 if bits == 8 else 2) if rle else 0, len(data), 0, 0, entries, 0)
    header = struct.pack("<IiiHHIIiiII", size, *fields).ljust(size, b"\0")
    offset = 14 + len(header) + len(table)
    start = struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset)
    places = {0: "header", offset: "pixels"}
    if table:
        places[14 + len(header)] = "palette"
    return Small(
        content=start + header + table + data, places=places, reading=Reading(channels="auto")
    )


SMALL = {
    "RGB, 24 bits": _small(24),
    "palette, 4 bits": _small(4),
    "palette, 8 bits, runs": _small(8, rle=True),
    "RGB, 32 bits, version 5": _small(32, size=124),
}
