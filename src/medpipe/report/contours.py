"""Pictures with the outlines of masks over them: SVG, so that they stay sharp when magnified.

Matplotlib and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from medpipe.report.pictures import SIDE, data_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

COLOURS = (
    "#56b4e9",
    "#e69f00",
    "#cc79a7",
    "#f0e442",
    "#20c997",
    "#ff7043",
    "#b39ddb",
    "#ffffff",
)
"""Of structures on grey images, after Okabe and Ito: told apart by people who see few colours."""
DASHES = "5 3.5"
BACK = "#0b0d10"
"""Under lines, so that they are seen on what is bright."""


@attrs.frozen(kw_only=True, eq=False)
class Outlined:
    """A mask over a picture.

    Attributes:
        mask: Bool of shape (height, width).
        colour: Of its outline.
        dashed: Whether the outline is dashed, as that of a prediction.
        filled: Whether it is also filled, so that it can be seen through.
    """

    mask: Array
    colour: str
    dashed: bool = False
    filled: bool = False


def colour_of(place: int) -> str:
    """The colour of a structure; from the ninth on they come again."""
    return COLOURS[place % len(COLOURS)]


def outlines(mask: Array) -> list[Array]:
    """The closed lines around a mask, in pixels from its left and upper edge.

    They run half-way between the centres of pixels inside and outside.

    Args:
        mask: Bool of shape (height, width).

    Returns:
        For each line its points (x, y), float64 of shape (points, 2).
    """
    import numpy as np
    from matplotlib.figure import Figure

    if not mask.any():
        return []
    padded = np.pad(mask.astype(np.float64), 1)  # so that each line is closed
    found = Figure().add_subplot().contour(padded, levels=[0.5]).allsegs[0]
    return [np.asarray(line) - 0.5 for line in found if len(line) > 2]


def outlined_picture(
    image: Array, masks: Sequence[Outlined], ratio: float = 1.0, side: int = SIDE
) -> str:
    """A picture with outlines as a data URI.

    Args:
        image: From 0 to 1, of shape (height, width) or (height, width, channels).
        masks: What to draw over it, the first undermost.
        ratio: Height of a pixel over its width.
        side: The longer side of the picture in pixels.
    """
    height, width = image.shape[0] * ratio, float(image.shape[1])
    scale = side / max(height, width)
    across, down = scale, scale * ratio
    wide, high = width * scale, height * scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.1f} {high:.1f}">',
        f'<image href="{data_uri(image, ratio, side)}" width="{wide:.1f}" height="{high:.1f}" '
        'preserveAspectRatio="none"/>',
    ]
    for one in masks:
        path = _path(outlines(one.mask), across, down)
        if not path:
            continue
        if one.filled:
            parts.append(f'<path d="{path}" fill="{one.colour}" fill-opacity=".3"/>')
        dashes = f' stroke-dasharray="{DASHES}"' if one.dashed else ""
        parts += [
            f'<path d="{path}" fill="none" stroke="{BACK}" stroke-opacity=".6" stroke-width="3"/>',
            f'<path d="{path}" fill="none" stroke="{one.colour}" stroke-width="1.6"{dashes}/>',
        ]
    return "data:image/svg+xml," + quote("".join([*parts, "</svg>"]), safe=" /:;,=+()-.")


def _path(lines: Sequence[Array], across: float, down: float) -> str:
    return "".join(
        "M" + "L".join(f"{x * across:.1f} {y * down:.1f}" for x, y in line[:-1]) + "Z"
        for line in lines
    )
