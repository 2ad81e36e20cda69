"""Pixel defects: NaN, infinite and constant images, seen while they are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from medpipe.steps import DecodedImage

PixelDefect = Literal["nan", "infinite", "constant"]

NOT_FINITE: frozenset[str] = frozenset({"nan", "infinite"})
"""The defects with which training can't compute."""

LARGEST = 3.4028234663852886e38
"""Training computes in float32: what is above this is infinite there."""


def defect_of(image: DecodedImage) -> PixelDefect | None:
    """The defect of an image's values, the worst of several; None if there is none.

    Most images are of whole numbers, and differ between two of their pixels: then nothing more is
    looked at.

    Returns:
        ``"nan"``: some are NaN; ``"infinite"``: some are infinite, or are so in float32;
        ``"constant"``: every pixel is like every other, in each channel.
    """
    values = image.values
    if values.dtype.kind == "f" and not _finite(values):
        import numpy as np

        return "nan" if np.isnan(values).any() else "infinite"
    return "constant" if _constant(values, image.channels) else None


def _finite(values: np.ndarray[Any, Any]) -> bool:
    # NaN is passed on by both, and no array of truth values is made.
    # As Python's floats: float16 would take the limit itself for infinite.
    least, most = float(values.min()), float(values.max())
    return least >= -LARGEST and most <= LARGEST


def _constant(values: np.ndarray[Any, Any], channels: bool) -> bool:
    one = values[..., 0] if channels else values
    if one.item(0) != one.item(one.size // 2) or one.item(0) != one.item(one.size - 1):
        return False
    first = values[(0,) * one.ndim]
    return bool((values == first).all())
