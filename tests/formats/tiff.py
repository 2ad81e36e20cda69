"""TIFF files written by hand or by tifffile: sound ones, and ones that contradict themselves."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from hypothesis import strategies as st

from formats.expected import READINGS, Picture, right
from formats.tiff_spoiled import CONTRADICTIONS, spoiled
from formats.tiff_writer import (
    ASCII,
    BLACK,
    CMYK,
    DEFLATE,
    LAB,
    LONG,
    LONG8,
    LZMA,
    LZW,
    PACKBITS,
    PALETTE,
    PLAIN,
    RATIONAL,
    RGB,
    SHORT,
    WHITE,
    YCBCR,
    ZSTD,
    Layout,
    assembled,
    block_bytes,
    reversed_bits,
    two_pages,
)
from formats.written import Small, Written
from medpipe.steps import Reading

UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4
COLOURS = {WHITE: 1, BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
BITS = {UNSIGNED: [*range(1, 17), 32, 64], SIGNED: [8, 16, 32, 64], FLOAT: [16, 32, 64]}
BITS[VOID] = BITS[UNSIGNED]
PACK = {
    PLAIN: bytes,
    DEFLATE: zlib.compress,
    LZW: imagecodecs.lzw_encode,
    PACKBITS: imagecodecs.packbits_encode,
    LZMA: imagecodecs.lzma_encode,
    ZSTD: imagecodecs.zstd_encode,
}


def samples_of(draw: Any, shape: tuple[int, ...], form: int, bits: int) -> np.ndarray[Any, Any]:
    """Random samples over the whole range."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if form == FLOAT:
        return random.normal(size=shape).astype(f"f{bits // 8}")
    width = next(one for one in (8, 16, 32, 64) if bits <= one)
    if form == SIGNED:
        top = 1 << (bits - 1)
        return random.integers(-top, top - 1, shape, np.int64, endpoint=True).astype(
            f"i{width // 8}"
        )
    values = random.integers(0, (1 << bits) - 1, shape, np.uint64, endpoint=True)
    return values.astype(f"u{width // 8}")


@st.composite
def by_hand(draw: Any) -> Written:
    """A file with any fields, and what is right for it."""
    wrong = draw(st.one_of(st.none(), st.sampled_from(CONTRADICTIONS)))
    form = draw(st.sampled_from([UNSIGNED, UNSIGNED, SIGNED, FLOAT, VOID]))
    bits = draw(st.sampled_from([*BITS[form], *([8, 16] if form in (UNSIGNED, VOID) else [])]))
    kinds = [WHITE, BLACK, BLACK, RGB, RGB]
    if form == UNSIGNED:
        kinds += [PALETTE] if bits <= 8 else []
        kinds += [CMYK, YCBCR, LAB] if bits == 8 else [CMYK] if bits == 16 else []
    kind = draw(st.sampled_from(kinds))
    if form == FLOAT and kind == WHITE:
        kind = BLACK
    if wrong == "float with white as zero":
        form, bits, kind = FLOAT, 32, WHITE
    extra = draw(st.sampled_from([[], [], [], [0], [1], [2], [0, 0], [2, 0]]))
    if (kind == PALETTE and len(extra) != 1) or (kind == PALETTE and extra == [0]):
        extra = []
    if extra[:1] == [1] and (form == SIGNED or bits not in (8, 16)):
        extra = [2]
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    count = COLOURS[kind] + len(extra)
    pixels = samples_of(draw, (height, width, count), form, bits)
    planar = count > 1 and draw(st.booleans())
    compression = draw(st.sampled_from([PLAIN, PLAIN, DEFLATE, 32946, LZW, PACKBITS, LZMA, ZSTD]))
    predictor = 1
    if compression not in (PLAIN, PACKBITS) and draw(st.booleans()):
        predictor = 3 if form == FLOAT else 2 if bits in (8, 16, 32, 64) else 1
    tiled = draw(st.booleans())
    order, big, first = draw(st.sampled_from("<>")), draw(st.booleans()), draw(st.booleans())
    fill, turn = draw(st.sampled_from([1, 1, 1, 2])), draw(st.sampled_from([1, 1, *range(1, 9)]))
    reading = draw(READINGS)
    if form == FLOAT and reading.channels == 1 and kind == RGB:
        reading = Reading(channels="auto")  # how a blend of floats is rounded is nobody's law

    rows = draw(st.integers(1, height))
    columns = width
    if tiled:
        rows, columns = 16 * draw(st.integers(1, 2)), 16 * draw(st.integers(1, 2))
    down, across = -(-height // rows), -(-width // columns)
    segments = []
    planes = [pixels[..., one : one + 1] for one in range(count)] if planar else [pixels]
    padded = draw(st.booleans())  # a last strip that is filled up
    for plane in planes:
        for top in range(0, down * rows, rows):
            for left in range(0, across * columns, columns):
                block = plane[top : top + rows, left : left + columns]
                if tiled or (padded and down > 1):
                    wide = np.zeros((rows, columns, plane.shape[2]), plane.dtype)
                    wide[: block.shape[0], : block.shape[1]] = block
                    block = wide
                data = block_bytes(block, bits, order, predictor)
                packed = PACK[DEFLATE if compression == 32946 else compression](data)
                segments.append(reversed_bits(packed) if fill == 2 else bytes(packed))
    colours = samples_of(draw, (1 << bits if kind == PALETTE else 1, 3), UNSIGNED, 8)
    told = draw(st.sampled_from([257, 256, 1]))
    colour_map = colours.astype(np.uint16) * np.uint16(told)
    if kind == PALETTE and told == 257 and draw(st.booleans()):
        colour_map = samples_of(draw, colours.shape, UNSIGNED, 16)
        if colour_map.max() < 256 or not (colour_map & 0xFF).any():
            colour_map[0] = 0x1234
        colours = colour_map
    tags: dict[int, tuple[int, list[int]]] = {
        256: (draw(st.sampled_from([SHORT, LONG])), [width]),
        257: (draw(st.sampled_from([SHORT, LONG])), [height]),
        258: (SHORT, [bits] * count),
        259: (SHORT, [compression]),
        262: (SHORT, [kind]),
        277: (SHORT, [count]),
    }
    if tiled:
        tags |= {322: (SHORT, [columns]), 323: (LONG, [rows])}
        layout = Layout(order=order, big=big, tags=tags, segments=segments, sizes=(324, 325))
    else:
        tags[278] = (LONG, [rows])
        layout = Layout(order=order, big=big, tags=tags, segments=segments)
    tags[layout.sizes[0]] = (LONG8 if big and draw(st.booleans()) else LONG, [])
    tags[layout.sizes[1]] = (LONG, [len(one) for one in segments])
    if form != UNSIGNED or draw(st.booleans()):
        tags[339] = (SHORT, [form] * count)
    if extra:
        tags[338] = (SHORT, extra)
    if planar or draw(st.booleans()):
        tags[284] = (SHORT, [2 if planar else 1])
    if predictor != 1 or (compression == LZW and draw(st.booleans())):
        tags[317] = (SHORT, [predictor])
    if fill == 2:
        tags[266] = (SHORT, [2])
    if turn != 1:
        tags[274] = (SHORT, [turn])
    if kind == PALETTE:
        tags[320] = (SHORT, [int(one) for one in colour_map.T.reshape(-1)])
    if kind == YCBCR:
        tags[530] = (SHORT, [1, 1])
        if draw(st.booleans()):
            tags[529] = (RATIONAL, [0.299, 0.587, 0.114])  # type: ignore[list-item]
            tags[532] = (RATIONAL, [0, 255, 128, 255, 128, 255])
    if draw(st.booleans()):
        tags[270] = (ASCII, list(b"of a hand\0"))
    if draw(st.booleans()):
        tags[65000] = (LONG, [1, 2, 3])
    wrong = spoiled(wrong, layout, (height, width, rows, count, kind, bits), draw)
    content = assembled(layout, first=first)
    if wrong == "two pages":
        content = two_pages(layout)
    elif wrong == "cut":
        content = content[: draw(st.integers(4, len(content) - 1))]
    elif wrong == "tags beyond the end":
        place = 8 if big else 4
        size = 8 if big else 4
        far = struct.pack(order + ("Q" if big else "I"), len(content) - 1)
        content = content[:place] + far + content[place + size :]

    values: np.ndarray[Any, Any] | None = None
    if wrong is None:
        picture = _picture(pixels, kind, form, bits, extra, colours, turn)
        convertible = kind not in (CMYK, YCBCR, LAB) or (
            kind in (CMYK, YCBCR) and bits == 8 and not any(one == 0 for one in extra)
        )
        if reading.channels is None or convertible:
            values = right(picture, reading)
    return Written(
        about=f"{kind=} {form=} {bits=} {extra=} {height=} {width=} {rows=} {columns=} {tiled=} "
        f"{planar=} {compression=} {predictor=} {order=} {big=} {first=} {fill=} {turn=} "
        f"{wrong=} {reading}",
        content=content,
        values=values,
        channels=values is not None and values.ndim == 3,
        reading=reading,
    )


def _picture(
    pixels: np.ndarray[Any, Any],
    kind: int,
    form: int,
    bits: int,
    extra: list[int],
    colours: np.ndarray[Any, Any],
    turn: int,
) -> Picture:
    """What is right."""
    values = pixels.copy()
    if kind == WHITE:
        if form == SIGNED:
            values[..., 0] = -1 - values[..., 0]
        else:
            values[..., 0] = (1 << bits) - 1 - values[..., 0].astype(object)
    if kind != PALETTE and bits in (2, 4):
        values = values * np.uint8(255 // ((1 << bits) - 1))
    first = COLOURS[kind]
    stored: np.ndarray[Any, Any] = values > 0 if bits == 1 and kind != PALETTE else values
    seen = values * np.uint8(255) if bits == 1 and kind != PALETTE else values
    if kind == PALETTE:
        seen = colours[pixels[..., 0]]
    elif extra[:1] in ([1], [2]):
        alpha, kept = seen[..., first], np.delete(seen, first, axis=2)
        if extra[0] == 1 and form != FLOAT:
            top = (1 << bits) - 1
            for one in range(first):
                stained = [
                    min(top, int(a) * top // (int(b) or top))
                    for a, b in zip(kept[..., one].ravel(), alpha.ravel(), strict=True)
                ]
                kept[..., one] = np.array(stained, kept.dtype).reshape(alpha.shape)
        elif extra[0] == 1:
            kept[..., :first] /= np.where(alpha == 0, 1, alpha)[..., None].astype(kept.dtype)
        seen = kept
    if kind in (CMYK, YCBCR) and seen.shape[2] == first and bits == 8:
        from PIL import Image

        mode = "CMYK" if kind == CMYK else "YCbCr"
        image = Image.frombytes(mode, (seen.shape[1], seen.shape[0]), seen.tobytes())
        seen = np.array(image.convert("RGB"))

    def flat(one: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return one[..., 0] if one.shape[2] == 1 else one

    return Picture(
        stored=flat(stored),
        seen=flat(seen),
        colours=kind in (RGB, PALETTE, CMYK, YCBCR),
        turn=turn,
        turned_always=True,
    )


@st.composite
def by_tifffile(draw: Any) -> Written:
    """A file of tifffile's, with the values it was given."""
    kind = draw(st.sampled_from(["minisblack", "miniswhite", "rgb"]))
    name = draw(st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]))
    if kind == "miniswhite":
        name = draw(st.sampled_from(["u1", "u2", "u4"]))
    compression = draw(st.sampled_from([None, "zlib", "lzw", "packbits", "lzma", "zstd", "jpeg"]))
    if compression == "jpeg":
        name = "u1"
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (height, width, 3) if kind == "rgb" else (height, width)
    kinds = np.dtype(name)
    if kinds.kind == "f":
        values = random.normal(size=shape).astype(kinds)
    else:
        values = random.integers(0, np.iinfo(kinds).max, shape, endpoint=True).astype(kinds)
    options: dict[str, Any] = {"photometric": kind, "compression": compression}
    options["bigtiff"] = draw(st.booleans())
    options["byteorder"] = draw(st.sampled_from("<>"))
    if compression in ("zlib", "lzw", "lzma", "zstd"):
        options["predictor"] = draw(st.booleans()) and name != "f2"
    if draw(st.booleans()):
        options["tile"] = (16, 16 * draw(st.integers(1, 2)))
    else:
        options["rowsperstrip"] = draw(st.integers(1, 40)) if compression != "jpeg" else height
    target = BytesIO()
    tifffile.imwrite(target, values, metadata=None, **options)
    content = target.getvalue()
    if compression == "jpeg":
        with tifffile.TiffFile(BytesIO(content)) as file:
            values = file.asarray()
    reading = draw(READINGS)
    if kinds.kind == "f" and reading.channels == 1 and kind == "rgb":
        reading = Reading(channels="auto")
    if kind == "miniswhite":
        values = np.iinfo(kinds).max - values
    seen = Picture(stored=values, seen=values, colours=kind == "rgb", turned_always=True)
    wanted = right(seen, reading)
    assert wanted is not None
    cut = draw(st.integers(0, 5)) == 0
    if cut:
        content = content[: draw(st.integers(8, len(content) - 1))]
    return Written(
        about=f"tifffile {name=} {shape=} {options} {cut=} {reading}",
        content=content,
        values=None if cut else wanted,
        channels=wanted.ndim == 3,
        reading=reading,
    )


EXAMPLES = st.one_of(by_hand(), by_hand(), by_tifffile())


def _small(
    kind: int, compression: int, *, bits: int = 8, big: bool = False, first: bool = False
) -> Small:
    random = np.random.default_rng(bits + kind)
    pixels = random.integers(0, 1 << bits, (6, 5, COLOURS[kind])).astype(f"u{bits // 8}")
    if kind == PALETTE:
        pixels = pixels & 15
    segments = [
        PACK[compression](block_bytes(pixels[top : top + 3], bits, "<", 1)) for top in (0, 3)
    ]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (SHORT, [5]),
        257: (SHORT, [6]),
        258: (SHORT, [bits] * COLOURS[kind]),
        259: (SHORT, [compression]),
        262: (SHORT, [kind]),
        273: (LONG, []),
        277: (SHORT, [COLOURS[kind]]),
        278: (SHORT, [3]),
        279: (LONG, [len(one) for one in segments]),
    }
    if kind == PALETTE:
        colours = random.integers(0, 256, 768) * 257
        tags[320] = (SHORT, [int(one) for one in colours])
    layout = Layout(order="<", big=big, tags=tags, segments=[bytes(one) for one in segments])
    content = assembled(layout, first=first)
    start = 16 if big else 8
    size = sum(len(one) for one in segments)
    places = {0: "header", start: "pixels", start + size + size % 2: "tags"}
    if size % 2:
        places[start + size] = "padding"
    if first:
        places = {0: "header", start: "tags", len(content) - size: "pixels"}
    if kind == PALETTE:
        places[len(content) - 2 * 768] = "palette"
    return Small(content=content, places=places, reading=Reading(channels="auto"))


SMALL = {
    "grey, 16 bits": _small(BLACK, PLAIN, bits=16),
    "grey, 16 bits, tags first": _small(BLACK, PLAIN, bits=16, first=True),
    "RGB, LZW": _small(RGB, LZW),
    "RGB, deflate, BigTIFF": _small(RGB, DEFLATE, big=True),
    "palette, PackBits": _small(PALETTE, PACKBITS),
}
