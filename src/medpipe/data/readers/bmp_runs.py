"""Expand the run lengths of BMP files (RLE8 and RLE4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    import numpy as np


def expanded(
    data: bytes, shape: tuple[int, int], path: str | os.PathLike[str], *, halves: bool
) -> np.ndarray[Any, Any]:
    """The indices, rows from the lowest.

    Args:
        data: From the first run on.
        shape: Height and width.
        path: For errors.
        halves: Whether an index has 4 bits, not 8.

    Raises:
        DataError: A run leaves the picture, pixels are left out, or the end is missing.
    """
    import numpy as np

    height, width = shape
    values = np.zeros(shape, np.uint8)
    x = y = place = 0
    while True:
        if place + 2 > len(data):
            reason = "its runs end without an end mark"
            raise UnreadableImageError(path, f"is damaged: {reason}", kind="truncated")
        count, value = data[place], data[place + 1]
        place += 2
        if count:
            run: Any = value
            if halves:
                run = np.resize(np.array([value >> 4, value & 15], np.uint8), count)
        elif value == 0:
            _whole(x, width, path)
            x, y = 0, y + 1
            continue
        elif value == 1:
            if y < height:
                _whole(x, width, path)
                _whole(y + 1, height, path)
            return values
        elif value == 2:
            raise _left_out(path)
        else:
            count = value
            stored = data[place : place + ((count + 1) // 2 if halves else count)]
            place += len(stored) + len(stored) % 2
            run = np.frombuffer(stored, np.uint8)
            if halves:
                run = np.stack([run >> 4, run & 15], axis=-1).ravel()[:count]
            if len(run) != count:
                raise UnreadableImageError(
                    path, "is damaged: it ends within a run", kind="truncated"
                )
        if y >= height or x + count > width:
            raise UnreadableImageError(
                path, f"is damaged: a run leaves row {y} of {height}", kind="damaged"
            )
        values[y, x : x + count] = run
        x += count


def _whole(done: int, wanted: int, path: str | os.PathLike[str]) -> None:
    if done != wanted:
        raise _left_out(path)


def _left_out(path: str | os.PathLike[str]) -> UnreadableImageError:
    return UnreadableImageError(
        path,
        "leaves out pixels (run lengths with gaps), whose value BMP doesn't say",
        "Save it as PNG.",
    )
