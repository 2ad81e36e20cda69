"""Unpack samples of any number of bits from rows of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SCALED_BITS = frozenset({2, 4})
"""Depths that become 8 bits without a remainder: 255 is a multiple of their largest value."""


def row_length(count: int, bits: int) -> int:
    """The bytes of a row of so many samples; a row begins with a byte of its own."""
    return (count * bits + 7) // 8


def unpacked(rows: np.ndarray[Any, Any], count: int, bits: int) -> np.ndarray[Any, Any]:
    """Whole numbers of fewer bits than their bytes, the first in the highest bits.

    Args:
        rows: Bytes of shape (rows, `row_length`).
        count: The samples of each row.
        bits: 1 to 31, of each sample.

    Returns:
        The numbers, of shape (rows, count), in the narrowest unsigned type that holds them.
    """
    import numpy as np

    if bits == 8:
        return rows[:, :count]
    kind = np.uint8 if bits < 8 else np.uint16 if bits <= 16 else np.uint32
    single = np.unpackbits(rows, axis=1, count=count * bits).reshape(len(rows), count, bits)
    values = np.zeros((len(rows), count), kind)
    for place in range(bits):
        values <<= 1
        values |= single[..., place]
    return values


def scaled(values: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Grey values of 1 bit as booleans, of 2 and 4 over 0 to 255, as Pillow gives them.

    Other depths stay as they are stored: their largest value doesn't divide 255 (or 65535), so
    that to scale them would be to round.
    """
    import numpy as np

    if bits == 1:
        return values.astype(bool)
    return values * np.uint8(255 // ((1 << bits) - 1)) if bits in SCALED_BITS else values
