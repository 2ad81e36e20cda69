"""What the values of a mask mean: from numbers and colours to the indices of names.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.steps import DecodedImage, LabelImage
    from medpipe.tasks.label_image import Value

    Array = np.ndarray[Any, np.dtype[Any]]

MANY = 10
"""From so many unknown values on, a mask is likely no mask, or was saved as JPEG."""
LOSSY = (".jpg", ".jpeg")
"""Suffixes of files whose values are not those that were saved."""
PICTURES = (".png", ".tif", ".tiff", ".bmp")
"""Suffixes of files whose second or fourth channel is opacity."""
NAMED = 6
"""How many values an error names."""


def whole_numbers(decoded: DecodedImage, title: str, named: Sequence[Value] = ()) -> Array:
    """The values of a mask as it is stored, one for each pixel.

    Args:
        decoded: The mask.
        title: Its file.
        named: The values that have a meaning.

    Raises:
        DataError: It has colours, fractions or values that are not finite.
    """
    import numpy as np

    values = decoded.values
    if decoded.channels:
        colours = {2: 1, 4: 3}.get(values.shape[-1]) if title.lower().endswith(PICTURES) else None
        grey = values[..., :colours]  # without alpha
        if (grey != grey[..., :1]).any():
            raise DataError(
                f"The mask {title} has {values.shape[-1]} channels of different values. Save it "
                "with one number for each pixel, or a file for each structure; or name its colours "
                "in dataset.labels, such as '#ff0000'."
            )
        values = grey[..., 0]
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.rint(values)
        if not np.array_equal(whole, values):
            odd = values[~(whole == values)][0]
            if not np.isfinite(odd):
                raise DataError(
                    f"The mask {title} holds {odd:g}. Save it with a whole number for each pixel."
                )
            raise DataError(
                f"The mask {title} holds fractions, such as {odd:g}: it was interpolated, or holds "
                "probabilities. Save the labels themselves, resampled by nearest neighbour."
            )
        values = whole
    if values.size and values.min() >= 0 and values.max() <= 255:  # quicker to look through
        two = values.dtype.kind == "b"
        values = values.astype(np.uint8)
        if two and 1 not in named and 255 in named:  # 255 in a picture of one bit
            values *= 255
    return values


def colour_numbers(decoded: DecodedImage, title: str) -> Array:
    """The colour of each pixel as a number: ``0xff0000`` for ``#ff0000``; alpha is left out.

    Raises:
        DataError: The mask has no colours of 8 bits.
    """
    import numpy as np

    values = decoded.values
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype != np.uint8:
        raise DataError(
            f"The mask {title} has values of the type {values.dtype}, and dataset.labels has "
            "colours of 8 bits. Save it in such colours, or give dataset.labels its values."
        )
    if not decoded.channels:
        return values.astype(np.uint32) * np.uint32(0x010101)
    if values.shape[-1] < 3:  # grey, with alpha
        return values[..., 0].astype(np.uint32) * np.uint32(0x010101)
    red, green, blue = (values[..., place].astype(np.uint32) for place in range(3))
    return (red << np.uint32(16)) | (green << np.uint32(8)) | blue


def indices(values: Array, label: LabelImage, title: str) -> Array:
    """The index of each pixel's name: 0 is the background, 255 counts nowhere."""
    import numpy as np

    meaning: dict[float, int] = {}
    unknown = []
    table, ignore = _numbers(label), _ignored(label)
    for value in _found(values):
        if value in ignore:
            continue
        if table is None:
            known = 0 <= value < IGNORED
            index = int(value) if known else 0
        else:
            known = value in table
            places = table.get(value, ())
            index = places[0] + 1 if places else 0
        if known:
            meaning[value] = index
        else:
            unknown.append(value)
    _refuse(unknown, label, title)
    if values.dtype == np.uint8:
        look_up = np.full(256, IGNORED, np.uint8)
        look_up[[int(value) for value in meaning]] = list(meaning.values())
        return look_up[values]
    result = np.full(values.shape, IGNORED, np.uint8)
    for value, index in meaning.items():
        result[values == value] = index
    return result


def channels(values: Array, label: LabelImage, title: str) -> Array:
    """Whether each pixel belongs to each name: 0, 1, or 255, in a last axis."""
    import numpy as np

    count = label.channels or 0
    result = np.zeros((*values.shape, count), np.uint8)
    table, ignore = _numbers(label), _ignored(label)
    if table is None:
        table = {0: (), **{place + 1: (place,) for place in range(count)}}
    unknown = []
    for value in _found(values):
        if value in ignore:
            result[values == value] = IGNORED
        elif value in table:
            result[values == value] = [int(place in table[value]) for place in range(count)]
        else:
            unknown.append(value)
    _refuse(unknown, label, title)
    return result


def belongs(values: Array, label: LabelImage, title: str) -> Array:
    """1 where a mask of one name is not 0, and 255 where it counts nowhere."""
    import numpy as np

    ignore = _ignored(label)
    if title.lower().endswith(LOSSY):
        unknown = [value for value in _found(values) if value not in {0, 255, *ignore}]
        _refuse(unknown, attrs.evolve(label, values=None), title)
    there: Array = (values != 0).astype(np.uint8)
    for value in ignore:
        there[values == value] = IGNORED
    return there


def _numbers(label: LabelImage) -> dict[float, tuple[int, ...]] | None:
    """What each value means, colours as numbers."""
    if label.values is None:
        return None
    return {_number(value): places for value, places in label.values}


def _ignored(label: LabelImage) -> frozenset[float]:
    return frozenset(map(_number, label.ignore))


def _number(value: Value) -> float:
    return int(value[1:], 16) if isinstance(value, str) else value


def _found(values: Array) -> list[float]:
    import numpy as np

    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(order="K"), minlength=256)
        return [float(value) for value in np.flatnonzero(counts)]
    return [value.item() for value in np.unique(values)]


def _refuse(unknown: list[float], label: LabelImage, title: str) -> None:
    """Refuse values that no name has."""
    if not unknown:
        return
    noun = "colour" if label.colours else "value"
    shown = ", ".join(_said(value, label) for value in unknown[:NAMED])
    lossy = title.lower().endswith(LOSSY)
    if lossy or len(unknown) >= MANY:
        several = f"a {noun}" if len(unknown) == 1 else f"{len(unknown)} {noun}s"
        smooth = ", or was drawn with smooth edges" if label.colours else ""
        why = f"is an image, or a mask that was saved as JPEG or was interpolated{smooth}"
        if lossy:
            why = f"was saved as JPEG, which changes {noun}s"
        form = "PNG" if label.colours else "PNG or NIfTI"
        raise DataError(
            f"The mask {title} has {several} that no label names, such as {shown}: it {why}. Save "
            f"labels as {form}."
        )
    has = f"the {noun}" if len(unknown) == 1 else f"the {noun}s"
    more = ", ..." if len(unknown) > NAMED else ""
    named = ", ".join(_said(_number(value), label) for value, _ in label.values or ())
    known = f" Named are {named}." if named else ""
    raise DataError(
        f"The mask {title} has {has} {shown}{more}, which no label names.{known} Add to "
        "dataset.labels, or to dataset.ignore what is to count nowhere."
    )


def _said(value: float, label: LabelImage) -> str:
    return f"#{int(value):06x}" if label.colours else f"{value:g}"
