"""Cut, zero and change a file at every byte, and see whether its values change unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from formats.written import Small, decoded
from medpipe.steps import DecodedImage

HOWS = ("cut", "zeroed", "flipped")


def damaged(content: bytes, how: str, place: int) -> bytes:
    """The file with one byte changed, or all of it from there on gone or zero."""
    if how == "cut":
        return content[:place]
    if how == "zeroed":
        return content[:place] + bytes(len(content) - place)
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def damage(small: Small, places: Iterable[int] | None = None) -> dict[str, dict[str, Counter[str]]]:
    """What becomes of a file by the place of the damage.

    Args:
        small: The file.
        places: The bytes to damage; None: all.

    Returns:
        Under each stretch of the file, under each kind of damage, how many were ``"refused"``,
        read ``"equal"``, and read with other values: ``"silent"``.
    """
    right = decoded(small.content, small.reading)
    assert isinstance(right, DecodedImage), right
    table: dict[str, dict[str, Counter[str]]] = {}
    for place in range(len(small.content)) if places is None else places:
        stretch = small.places[max(start for start in small.places if start <= place)]
        counted = table.setdefault(stretch, {how: Counter() for how in HOWS})
        for how in HOWS:
            counted[how][_outcome(damaged(small.content, how, place), right, small)] += 1
    return table


def _outcome(content: bytes, right: DecodedImage, small: Small) -> str:
    found = decoded(content, small.reading)
    if isinstance(found, str):
        return "refused"
    same = found.channels == right.channels and np.array_equal(
        found.values, right.values, equal_nan=right.values.dtype.kind == "f"
    )
    return "equal" if same else "silent"
