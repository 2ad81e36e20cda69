"""What is right for a picture, by its samples and a reading; written apart from the library."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from medpipe.steps import Reading

READINGS = st.sampled_from([None, "auto", 1, 3]).map(lambda channels: Reading(channels=channels))
"""Every way to ask for channels."""


@attrs.frozen(kw_only=True, eq=False)
class Picture:
    """A picture as its writer knows it.

    Attributes:
        stored: What a reading of stored values gives, of shape (height, width[, samples]).
        seen: What ``"auto"`` gives, before it is turned: without alpha, palettes resolved.
        colours: Whether `seen` has red, green and blue.
        turn: The orientation by EXIF's count.
        turned_always: Whether also the stored values are given upright, as for TIFF.
    """

    stored: np.ndarray[Any, Any]
    seen: np.ndarray[Any, Any]
    colours: bool = False
    turn: int = 1
    turned_always: bool = False


def right(picture: Picture, reading: Reading) -> np.ndarray[Any, Any] | None:
    """The right values; None: the file is to be refused, as it has no such channels."""
    if reading.channels is None:
        return turned(picture.stored, picture.turn) if picture.turned_always else picture.stored
    values = turned(picture.seen, picture.turn)
    count = values.shape[2] if values.ndim == 3 else 1
    if reading.channels == "auto" or reading.channels == count == 3:
        return values
    if count == 1:
        grey = values.reshape(values.shape[:2])
        return grey if reading.channels == 1 else np.dstack([grey] * 3)
    return luma(values) if picture.colours and count == 3 else None


def luma(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Grey by ITU-R 601-2, in whole numbers without an end (65536ths, rounded)."""
    red, green, blue = (values[..., one].astype(object) for one in range(3))
    grey = (red * 19595 + green * 38470 + blue * 7471 + 32768) // 65536
    return np.array(grey, dtype=values.dtype).reshape(values.shape[:2])


def turned(values: np.ndarray[Any, Any], turn: int) -> np.ndarray[Any, Any]:
    """Upright, by the table of EXIF: where the file's first row and column lie."""
    ways = {
        2: lambda a: np.fliplr(a),
        3: lambda a: np.rot90(a, 2),
        4: lambda a: np.flipud(a),
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    return ways.get(turn, lambda a: a)(values)
