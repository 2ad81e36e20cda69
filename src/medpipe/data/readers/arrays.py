"""Validate arrays in memory: real numbers that float32 can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

IN_MEMORY = "in memory"
"""Stands for the path in an error, until the sample is known."""
EXACT = 1 << 24
"""Whole numbers up to this one are exact in float32."""
STEPS = 256
"""How many steps of float32 must lie between the lowest and the highest value of an image."""
REAL = frozenset("?bBhHiIlLqQefdg")


def plain_array(image: Array) -> Array:
    """The array as an image: of real numbers in this machine's byte order, and nothing masked.

    Raises:
        DataError: It is empty, or holds something else.
    """
    import numpy as np

    kind = image.dtype
    if type(image) is np.ndarray and kind.char in REAL and kind.isnative and image.size:
        return image
    if kind.char not in REAL:
        what = "complex numbers" if kind.kind == "c" else f"values of the type {kind}"
        raise UnreadableImageError(
            IN_MEMORY,
            f"holds {what}, which are not real numbers",
            "Convert the values to real numbers, such as float32; for complex numbers take the "
            "magnitude.",
        )
    if not image.size:
        reason = f"has no pixels: its shape is {image.shape}"
        raise UnreadableImageError(IN_MEMORY, reason, "Leave it out.", kind="empty")
    if isinstance(image, np.ma.MaskedArray):
        if np.ma.is_masked(image):
            reason = "is an array with masked values"
            raise UnreadableImageError(IN_MEMORY, reason, "Fill them: image.filled(0).")
        image = image.data
    plain = np.asarray(image)
    return plain if kind.isnative else plain.astype(kind.newbyteorder("="))


def as_float32(values: Array, named: str) -> Array:
    """A copy of the values as float32, in which training computes.

    Args:
        values: Real numbers.
        named: What they are, for errors.

    Raises:
        DataError: Some are infinite in float32 and not before, or it can't tell them apart.
    """
    import numpy as np

    if values.dtype.itemsize <= 2 or values.dtype == np.float32:
        return np.array(values, dtype=np.float32, order="C", copy=True)
    with np.errstate(over="ignore", under="ignore"):
        found: Array = np.array(values, dtype=np.float32, order="C", copy=True)
    least, most = found.min(), found.max()
    if values.dtype.kind == "f" and not (np.isfinite(least) and np.isfinite(most)):
        if (np.isinf(found) & ~np.isinf(values)).any():
            raise DataError(
                f"{named} has values beyond 3.4e38, which are infinite in float32, the type in "
                "which training computes. Scale them first."
            )
        return found
    largest = max(abs(least), abs(most))
    if largest < EXACT:
        return found
    lowest, highest = values.min(), values.max()
    # In Python's integers: float64 can't tell large ones apart either.
    span = float(highest - lowest if values.dtype.kind == "f" else int(highest) - int(lowest))
    step = float(np.spacing(largest))
    if 0 < span < STEPS * step:
        raise DataError(
            f"{named} has values up to {largest:g} that differ by {span:g} at most: float32, the "
            "type in which training computes, can't tell them apart. Subtract the lowest value "
            "first."
        )
    return found
