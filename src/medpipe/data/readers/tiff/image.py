"""Decode TIFF files: one picture each, as its tags say."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_bomb, refuse_pixels
from medpipe.data.readers.raster import Raster, turned
from medpipe.data.readers.samples import row_length, scaled, unpacked
from medpipe.data.readers.tiff.data import (
    FAX,
    JPEG,
    NONE,
    OLD_JPEG,
    PREDICTABLE,
    Coding,
    Segment,
    broken,
    decompressed,
)
from medpipe.data.readers.tiff.layout import COUNTS, WHOLE, Layout, check_colours, layout_of
from medpipe.data.readers.tiff.pages import only_page
from medpipe.data.readers.tiff.tags import (
    CMYK,
    COLOURS,
    FLOAT,
    LAB,
    PALETTE,
    RGB,
    SIGNED,
    SUPPORT,
    UNSIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    Page,
    tiff_pages,
)
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    import numpy as np

__all__ = ["tiff_raster"]


def tiff_raster(content: bytes, path: str | os.PathLike[str]) -> Raster:
    """The values of a TIFF file, upright as its Orientation says.

    White is the largest value, whatever the file has it as; grey values of 1, 2 and 4 bits are
    scaled to 8, as Pillow does. Samples that are neither colours nor alpha stay as channels.

    Raises:
        DataError: Its tags contradict each other or its data, it has several pages that are no
            smaller copies, or it is of a kind that isn't decoded, or too large.
    """
    page = only_page(tiff_pages(content, path), path)
    layout = layout_of(page, path)
    refuse_pixels(path, layout.width, layout.height)
    if page.number("Compression") in (JPEG, OLD_JPEG):
        from medpipe.data.readers.tiff.jpeg import jpeg_segments

        values = _assembled(page, layout, jpeg_segments, content, path)
        if layout.photometric == YCBCR:
            layout = attrs.evolve(layout, photometric=RGB)
    else:
        values = _assembled(page, layout, _plain_segments, content, path)
    return _raster(values, page, layout, path)


def _assembled(
    page: Page, layout: Layout, decode: Any, content: bytes, path: str | os.PathLike[str]
) -> np.ndarray[Any, Any]:
    """The samples of all strips or tiles, of shape (height, width, samples)."""
    import numpy as np

    tiled = page.number("TileWidth") is not None or page.number("TileLength") is not None
    kind = "Tile" if tiled else "Strip"
    if tiled:
        columns, rows = page.number("TileWidth") or 0, page.number("TileLength") or 0
    else:
        columns = layout.width
        rows = min(page.number("RowsPerStrip") or 0, layout.height)
    if columns < 1 or rows < 1:
        raise broken(path, f"its {kind.lower()}s have {columns} x {rows} pixels")
    across, down = -(-layout.width // columns), -(-layout.height // rows)
    planes = layout.samples if layout.planar else 1
    places, lengths = page.numbers(f"{kind}Offsets"), page.numbers(f"{kind}ByteCounts")
    count = across * down * planes
    if len(places) != count or len(lengths) != count:
        reason = (
            f"its size makes {count} {kind.lower()}s, and it has {len(places)} of them with "
            f"{len(lengths)} lengths"
        )
        raise broken(path, reason)
    shape = columns, 1 if layout.planar else layout.samples
    size = row_length(columns * layout.samples, layout.bits) * rows * across * down
    refuse_bomb(path, max(size, layout.width * layout.height * layout.samples))
    segments = []
    for number, (place, length) in enumerate(zip(places, lengths, strict=True)):
        if not place >= 8 or length < 1:
            raise broken(path, f"its {kind.lower()} {number} has no data (sparse file)")
        if place + length > len(content):
            reason = f"its {kind.lower()} {number} goes beyond its end"
            raise broken(path, reason, kind="truncated")
        left = rows if tiled else min(rows, layout.height - number % down * rows)
        # A single strip is as long as the picture; of several, the last may be filled up.
        segments.append(Segment(data=content[place : place + length], rows=left, full=rows))
    if page.number("Compression") == NONE:
        row = row_length(columns * shape[1], layout.bits)
        used = [min(len(one.data), one.rows * row) for one in segments]
        ends = [(at, at + length) for at, length in zip(places, used, strict=True)]
        _refuse_overlaps([*page.spans, *ends], path)
    blocks = decode(page, layout, segments, shape, path)
    if not tiled:
        joined = np.concatenate(blocks).reshape(planes, layout.height, layout.width, -1)
    else:
        grid = np.stack(blocks).reshape(planes, down, across, rows, columns, shape[1])
        joined = grid.swapaxes(2, 3).reshape(planes, down * rows, across * columns, -1)
        joined = joined[:, : layout.height, : layout.width]
    return np.moveaxis(joined[..., 0], 0, -1) if layout.planar else joined[0]


def _refuse_overlaps(spans: list[tuple[int, int]], path: str | os.PathLike[str]) -> None:
    """Refuse pixels that lie partly within others or within tags: their place is wrong.

    Without compression nothing else would tell. Some writers store equal tiles once.
    """
    ordered = sorted(set(spans))
    for (first, end), (following, _) in pairwise(ordered):
        if first < following < end:
            raise broken(path, f"the data at byte {first} overlap the data at byte {following}")


def _plain_segments(
    page: Page,
    layout: Layout,
    segments: list[Segment],
    shape: tuple[int, int],
    path: str | os.PathLike[str],
) -> list[np.ndarray[Any, Any]]:
    """Samples of shape (rows, columns, samples), of compressions that keep each byte."""
    import numpy as np

    columns, samples = shape
    compression, predictor = page.number("Compression") or 0, page.number("Predictor")
    if layout.photometric == YCBCR and (page.numbers("YCbCrSubSampling") or (2, 2)) != (1, 1):
        raise UnreadableImageError(
            path, "has colours (YCbCrSubSampling) of a coarser grid, which aren't decoded", SUPPORT
        )
    if compression in FAX and (layout.bits, layout.samples) != (1, 1):
        raise broken(path, f"it has {layout.bits} bits and is compressed as {FAX[compression]}")
    if predictor != 1 and compression not in PREDICTABLE:
        raise broken(path, f"it says Predictor {predictor} with Compression {compression}")
    options = page.number("T4Options" if compression == 3 else "T6Options") or 0
    coding = Coding(
        compression=compression,
        row=row_length(columns * samples, layout.bits),
        columns=columns,
        reversed_bits=page.number("FillOrder") == 2,
        options=options,
        path=path,
    )
    found = []
    for data, segment in zip(decompressed(segments, coding), segments, strict=True):
        rows = np.frombuffer(data, np.uint8).reshape(segment.rows, coding.row)
        if predictor == 3:
            values = _float_predicted(rows, columns, samples, layout, path)
        else:
            values = _typed(rows, columns * samples, layout)
        values = values.reshape(segment.rows, columns, samples)
        if predictor == 2:
            if layout.bits not in WHOLE:
                raise broken(path, f"it says Predictor 2 for samples of {layout.bits} bits")
            whole = values.view(f"u{layout.bits // 8}")
            values = np.cumsum(whole, axis=1, dtype=whole.dtype).view(values.dtype)
        elif predictor not in (1, 3):
            raise broken(path, f"it says Predictor {predictor}, which TIFF doesn't know")
        found.append(values)
    return found


def _typed(rows: np.ndarray[Any, Any], count: int, layout: Layout) -> np.ndarray[Any, Any]:
    """Samples in this machine's byte order."""
    if layout.bits not in WHOLE:
        return unpacked(rows, count, layout.bits)
    letter = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[layout.form]
    typed = rows.view(f"{layout.order}{letter}{layout.bits // 8}")
    return typed.astype(typed.dtype.newbyteorder("="))


def _float_predicted(
    rows: np.ndarray[Any, Any],
    columns: int,
    samples: int,
    layout: Layout,
    path: str | os.PathLike[str],
) -> np.ndarray[Any, Any]:
    """Undo the floating point predictor (Adobe's TIFF Technical Note 3)."""
    import numpy as np

    if layout.form != FLOAT:
        raise broken(path, "it says Predictor 3 for samples that are not floats")
    width = layout.bits // 8
    summed = np.cumsum(rows.reshape(len(rows), -1, samples), axis=1, dtype=np.uint8)
    # The highest bytes of all samples come first, then the next ones.
    planes = summed.reshape(len(rows), width, columns * samples)
    typed = np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">f{width}")
    return typed.astype(f"=f{width}")


def _raster(
    values: np.ndarray[Any, Any], page: Page, layout: Layout, path: str | os.PathLike[str]
) -> Raster:
    """With white as the largest value, its colours named, and upright."""
    import numpy as np

    kind = layout.photometric
    first = COUNTS[kind]
    extra = page.numbers("ExtraSamples")
    alpha: Any = None
    if extra and extra[0] in (1, 2):
        alpha = "premultiplied" if extra[0] == 1 else "straight"
    if alpha == "premultiplied" and (layout.form == SIGNED or layout.bits not in (2, 4, *WHOLE)):
        reason = f"has colours multiplied by alpha (ExtraSamples 1) in {layout.bits} bits"
        raise UnreadableImageError(path, f"{reason}, which aren't decoded", SUPPORT)
    if kind == WHITE_IS_ZERO:
        if layout.form == FLOAT:
            raise UnreadableImageError(
                path,
                "has floats with white as 0 (PhotometricInterpretation 0), and doesn't say what "
                "black is",
                "Save it with black as 0.",
            )
        top = (1 << layout.bits) - 1
        # Signed: the smallest value becomes the largest, and back.
        flipped = ~values[..., :1] if layout.form == SIGNED else top - values[..., :1]
        values = np.concatenate([flipped.astype(values.dtype), values[..., 1:]], axis=-1)
    palette = None
    if kind == PALETTE:
        palette = _palette(page, layout, path)
    elif kind in (CMYK, YCBCR, LAB):
        check_colours(page, kind, path)
    if kind != PALETTE and layout.bits < 8:
        values = scaled(values, layout.bits)
    if values.shape[-1] == 1:
        values = values[..., 0]
    elif kind == PALETTE and (alpha is None or layout.samples != first + 1):
        # What lies beside an index, other than alpha, can't stand beside its colour.
        raise UnreadableImageError(
            path, "has a palette and further samples (ExtraSamples)", SUPPORT
        )
    orientation = page.number("Orientation") or 1
    if not 1 <= orientation <= 8:
        raise broken(path, f"it says Orientation {orientation}")
    return Raster(
        values=turned(values, orientation),
        colours=COLOURS.get(kind),
        alpha=alpha,
        palette=palette,
    )


def _palette(page: Page, layout: Layout, path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """RGB of each index, in 8 bits where these hold what the map's 16 bits say."""
    import numpy as np

    entries = page.numbers("ColorMap")
    if layout.bits > 16 or layout.form != UNSIGNED or len(entries) != 3 << layout.bits:
        reason = f"its ColorMap has {len(entries)} values for indices of {layout.bits} bits"
        raise broken(path, reason)
    colours = np.array(entries, np.uint16).reshape(3, -1).T
    if not colours.any():
        raise broken(path, "its ColorMap is black")
    if colours.max() < 256:  # written in 8 bits, as libtiff takes it too
        return colours.astype(np.uint8)
    high = colours >> 8
    narrow = any(np.array_equal(colours, high * np.uint16(factor)) for factor in (256, 257))
    return high.astype(np.uint8) if narrow else colours
