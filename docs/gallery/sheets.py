"""The pictures of a transform: the image before, and after, with the outlines of its mask."""

from __future__ import annotations

import io
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medpipe.report.contours import BACK, colour_of, outlines

from .drawing import Array, Drawn, Shown

if TYPE_CHECKING:
    from medpipe.plugin import TransformStep

    from .examples import Example

SCALE = {1: 2, 3: 3}
"""Pixels of the picture for one of the image, and for one of the three planes of a volume."""
GAP = 8
FINE = 4
"""Outlines are drawn so many times as large, then made smaller, for smooth lines."""
BINS, HIGH = 48, 40
INK = (128, 128, 128, 255)
"""Of numbers and bars: seen on white and on black."""
LESION = 2
QUALITY = 72


def sheet_before(drawn: Drawn) -> Image.Image:
    """The image without the step, from its lowest to its highest value."""
    return _column(_planes(drawn), _range(drawn))


def sheet_after(shown: Shown, example: Example) -> Image.Image:
    """All that came out of a transform, on nothing: what is between images is transparent."""
    images = list(shown.after)
    channels = len(images[0].image)
    if channels > 1:
        images = [_channel(images[0], place) for place in range(channels)]
    own = example.own_range or channels > 1
    columns = [_column(_planes(one), _range(one if own else shown.before)) for one in images]
    if has_histograms(shown.step):
        columns.append(_histograms(shown.before, shown.after[0]))
    return _row(columns)


def encoded(picture: Image.Image) -> bytes:
    """A picture as WebP: small, and transparent between the images."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()


def has_histograms(step: TransformStep) -> bool:
    """Whether the values before and after are shown: for steps that change them, always alike."""
    return not step.random and not step.spatial and step.name != "add_coordinate_channels"


def _range(drawn: Drawn) -> tuple[float, float]:
    low, high = float(drawn.image.min()), float(drawn.image.max())
    return low, high if high > low else low + 1


def _channel(drawn: Drawn, place: int) -> Drawn:
    return Drawn(image=drawn.image[place : place + 1], mask=drawn.mask)


def _planes(drawn: Drawn) -> list[Drawn]:
    """What is shown of an image: itself, or the planes through the middle of a volume's lesion."""
    if drawn.mask.ndim == 2:
        return [drawn]
    middle = np.argwhere(drawn.mask == LESION).mean(axis=0).round().astype(int)
    planes = []
    for axes in combinations(range(3), 2):
        (across,) = {0, 1, 2} - {*axes}
        image = np.take(drawn.image, middle[across], axis=1 + across)
        planes.append(Drawn(image=image, mask=np.take(drawn.mask, middle[across], axis=across)))
    return planes


def _column(planes: list[Drawn], ends: tuple[float, float]) -> Image.Image:
    scale = SCALE[len(planes)]
    pictures = [_picture(plane, ends, scale) for plane in planes]
    width = max(picture.width for picture in pictures)
    height = sum(picture.height for picture in pictures) + GAP * (len(pictures) - 1)
    column, top = Image.new("RGBA", (width, height)), 0
    for picture in pictures:
        column.paste(picture, ((width - picture.width) // 2, top))
        top += picture.height + GAP
    return column


def _picture(plane: Drawn, ends: tuple[float, float], scale: int) -> Image.Image:
    """The first channel with its mask; the first axis runs to the right, the second downwards."""
    low, high = ends
    grey = np.clip((plane.image[0].T - low) / (high - low), 0, 1) * 255
    small = Image.fromarray(grey.round().astype(np.uint8))
    size = (small.width * scale, small.height * scale)
    picture = small.resize(size, Image.Resampling.NEAREST).convert("RGBA")
    picture.alpha_composite(_outlines(plane.mask.T, scale))
    return picture


def _outlines(mask: Array, scale: int) -> Image.Image:
    height, width = (side * scale * FINE for side in mask.shape)
    drawn = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(drawn)
    for structure in (1, 2):
        for line in outlines(mask >= structure):
            points = [(x * scale * FINE, y * scale * FINE) for x, y in line.tolist()]
            for colour, thick in ((BACK + "99", 3.0), (colour_of(structure - 1), 1.7)):
                pen.line(points, fill=colour, width=round(thick * FINE), joint="curve")
    return drawn.resize((width // FINE, height // FINE), Image.Resampling.LANCZOS)


def _histograms(before: Drawn, after: Drawn) -> Image.Image:
    """How often each value is there, before (above) and after, from the lowest to the highest."""
    font: Any = ImageFont.load_default(size=11)
    wide, text = BINS * 3, 15
    picture = Image.new("RGBA", (wide, 2 * (HIGH + text) + GAP))
    pen = ImageDraw.Draw(picture)
    for place, drawn in enumerate((before, after)):
        bottom = place * (HIGH + text + GAP) + HIGH
        low, high = _range(drawn)
        counts, _ = np.histogram(drawn.image, BINS, (low, high))
        heights = np.ceil(np.sqrt(counts / counts.max()) * HIGH).astype(int)
        for column, height in enumerate(heights.tolist()):
            if height:
                left = column * 3
                pen.rectangle((left, bottom - height, left + 1, bottom - 1), fill=INK)
        pen.line((0, bottom, wide, bottom), fill=INK)
        for x, value, anchor in ((0, low, "lt"), (wide - 1, high, "rt")):
            pen.text((x, bottom + 3), number(value), fill=INK, font=font, anchor=anchor)
    return picture


def number(value: float) -> str:
    """A value with two digits behind the point, and no minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _row(columns: list[Image.Image]) -> Image.Image:
    height = max(column.height for column in columns)
    width = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    row, left = Image.new("RGBA", (width, height)), 0
    for column in columns:
        row.paste(column, (left, (height - column.height) // 2))
        left += column.width + GAP
    return row
