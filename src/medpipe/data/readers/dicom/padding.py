"""Pixel padding: which pixels of a DICOM file were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]

VALUES = ("PixelPaddingValue", "FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue")
LIMITS = (
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingRangeLimit",
)


def padded(dataset: Dataset, values: Array, cells: Array) -> Array | None:
    """Where PixelPaddingValue, or a value from it to PixelPaddingRangeLimit, is stored.

    PS3.3 C.7.5.1.1.2.

    Args:
        dataset: The file.
        values: The stored values.
        cells: The same before bits outside of BitsStored were taken away: some files pad with a
            value that BitsStored can't hold.

    Returns:
        True where there is padding; None where there is none.

    Raises:
        ValueError: The value is no number.
    """
    import numpy as np

    ends: list[Any] = []
    for keywords in (VALUES, LIMITS):
        for keyword in keywords:
            value = dataset.get(keyword)
            if value is not None and value != "":
                ends.append(_of_type(keyword, value, cells.dtype))
                break
        if not ends:
            return None
    least, most = min(ends), max(ends)
    found = (values >= least) & (values <= most)
    if cells is not values:
        found |= (cells >= least) & (cells <= most)
    if cells.dtype.kind == "f" and any(np.isnan(end) for end in ends):
        found = np.isnan(values)
    return found if found.any() else None


def _of_type(keyword: str, value: Any, kind: np.dtype[Any]) -> Any:
    """The value as pixels have it: it may be written with the other sign."""
    if not isinstance(value, (int, float)):
        raise ValueError(f"its {keyword} is {value!r}, which is not a number")  # noqa: TRY004
    if kind.kind == "f":
        return float(value)
    size = 8 * kind.itemsize
    plain = int(value) % (1 << size) if -(1 << size) < value < 1 << size else int(value)
    return plain - (1 << size) if kind.kind == "i" and plain >> (size - 1) == 1 else plain


def fill(values: Array, padding: Array | None) -> None:
    """Set padding to the lowest of the other values, in place; where there are none, nothing."""
    if padding is not None and not padding.all():
        values[padding] = values[~padding].min()
