"""TIFF files whose tags contradict each other or their data."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from formats.tiff_writer import ASCII, DEFLATE, LONG, PALETTE, PLAIN, SHORT, ZSTD, Layout

CONTRADICTIONS = (
    "cut",
    "complex",
    "24 bits",
    "samples that differ in bits",
    "samples that differ in format",
    "bits for fewer samples",
    "more colours than samples",
    "float with white as zero",
    "taller",
    "shorter",
    "wider",
    "fewer strips",
    "more strips",
    "strip beyond the end",
    "strip of less",
    "strip of a row more",
    "sparse strip",
    "unknown compression",
    "unknown photometric",
    "unknown predictor",
    "predictor of plain data",
    "unknown planar",
    "unknown orientation",
    "two pages",
    "pages of ImageJ",
    "depth",
    "palette too short",
    "no width",
    "width twice",
    "no size",
    "tags beyond the end",
    "checksum of the data",
)


def spoiled(
    wrong: str | None, layout: Layout, told: tuple[int, int, int, int, int, int], draw: Any
) -> str | None:
    """Make the tags contradict the data; the contradiction, or None where it can't be."""
    height, width, rows, count, kind, bits = told
    tags, segments = layout.tags, layout.segments
    _, counts = layout.sizes
    compression = tags[259][1][0]
    tiled, plain = 322 in tags, compression == PLAIN
    lengths = [len(one) for one in segments]
    place = draw(st.integers(0, len(segments) - 1))
    # For the tags that only have to be changed: their values, or None where nothing would be said.
    single = len(segments) == 1 and rows == height and bits == 8 and compression != ZSTD
    new: dict[str, tuple[int, list[int]] | None] = {
        "complex": (339, [6] * count),
        "24 bits": (258, [24] * count),
        "samples that differ in bits": (258, [bits] * (count - 1) + [bits % 16 + 8]),
        "samples that differ in format": (339, [1] * (count - 1) + [2]),
        "bits for fewer samples": (258, [bits] * (count - 1)),
        "more colours than samples": (338, [0] * count),
        "taller": (257, [height + 64]),
        "shorter": (257, [height - 1]) if single and height > 1 else None,
        "wider": (256, [width + 64]),
        "strip beyond the end": (counts, [*lengths[:-1], lengths[-1] + 100_000]),
        "sparse strip": (counts, [*lengths[:-1], 0]),
        "unknown compression": (259, [34676]),
        "unknown photometric": (262, [32803]),
        "unknown predictor": (317, [7]),
        "predictor of plain data": (317, [2]) if plain else None,
        "unknown planar": (284, [3]),
        "unknown orientation": (274, [12]),
        "depth": (32997, [4]),
        "palette too short": (320, tags[320][1][:-3]) if kind == PALETTE else None,
        "no size": (257, [0]),
    }
    for name, least in (("samples that differ in bits", 1), ("samples that differ in format", 1)):
        new[name] = new[name] if count > least else None
    if count < 3:
        new["bits for fewer samples"] = None
    if wrong in new:
        change = new[wrong]
        if change is None:
            return None
        code, values = change
        tags[code] = (tags[code][0] if code in tags else SHORT, values)
        if wrong == "shorter" and not tiled:
            tags[278] = (LONG, [height - 1])
        return wrong if wrong != "shorter" or not tiled else _put_back(tags, height)
    if wrong == "fewer strips":
        if len(segments) < 2:
            return None
        del segments[-1]
    elif wrong == "more strips":
        segments.append(segments[-1])
    elif wrong == "strip of less":
        if not plain or len(segments[place]) < 2:
            return None
        segments[place] = segments[place][: len(segments[place]) // 2]
        if lengths[place] > 1 and layout.tags.get(278) and not tiled and len(segments) > 1:
            segments[place] = b"\0"  # less than the rows that belong to the picture, if padded
    elif wrong == "strip of a row more":
        if not single or tiled or not plain:
            return None
        segments[0] += bytes(width * count)
    elif wrong == "pages of ImageJ":
        tags[270] = (ASCII, list(b"ImageJ=1.53t\nimages=3\nslices=3\n\0"))
    elif wrong == "no width":
        del tags[256]
    elif wrong == "width twice":
        layout.again = (256, LONG, [width])
    elif wrong == "checksum of the data":
        if compression not in (DEFLATE, 32946) or 266 in tags:
            return None
        segments[-1] = segments[-1][:-1] + bytes([segments[-1][-1] ^ 1])
    tags[counts] = (LONG, [len(one) for one in segments])
    return wrong


def _put_back(tags: dict[int, tuple[int, list[int]]], height: int) -> None:
    """A tile holds more rows than the picture anyway."""
    tags[257] = (tags[257][0], [height])
