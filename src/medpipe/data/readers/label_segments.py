"""What the segments of a DICOM segmentation mean: the indices of names.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.errors import DataError
from medpipe.system.text import counted
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    import numpy as np

    from medpipe.data.readers.dicom.segmentation import Segments
    from medpipe.steps import LabelImage

    Array = np.ndarray[Any, np.dtype[Any]]

NAMED = 6
"""How many segments an error names."""


def of_segments(found: Segments, label: LabelImage, title: str) -> Array:
    """The index of each voxel's name, or whether it belongs to each; see `read_label`.

    Args:
        found: The segments, by number and by label.
        label: Whose values are numbers or labels of segments; without values the number of a
            segment is the place of a name, counted from 1.
        title: The file.

    Raises:
        DataError: A segment has no name, or segments overlap whose names must not.
    """
    import numpy as np

    codes = found.image.values
    there = np.unique(codes).tolist()
    meant = {
        number: _places(number, found, label)
        for code in there
        for number in found.sets[code] or (0,)
    }
    _refuse([number for number, places in meant.items() if places is None], found, label, title)
    shape = (len(found.sets),) if label.channels is None else (len(found.sets), label.channels)
    table = np.zeros(shape, np.uint8)
    for code in there:
        numbers = found.sets[code] or (0,)
        places = {place for number in numbers for place in meant[number] or ()}
        if IGNORED in places:
            table[code] = IGNORED
        elif label.channels is not None:
            table[code] = [int(place in places) for place in range(label.channels)]
        elif len(places) > 1:
            named = " and ".join(_said(number, found) for number in numbers)
            raise DataError(
                f"The segments {named} of the mask {title} overlap in "
                f"{counted(int((codes == code).sum()), 'pixel')}. Set overlapping = true in "
                "[dataset.task], if they may."
            )
        else:
            table[code] = min(places) + 1 if places else 0
    result: Array = table[codes]
    return result


def _places(number: int, found: Segments, label: LabelImage) -> tuple[int, ...] | None:
    """The places of a segment's names; `IGNORED` where it counts nowhere, None for no name."""
    keys = (number, found.labels.get(number))
    if any(key in label.ignore for key in keys):
        return (IGNORED,)
    table = dict(label.values or ())
    for key in keys:
        if key is not None and key in table:
            return table[key]
    if number == 0:
        return ()
    return (number - 1,) if label.values is None else None


def _refuse(unknown: list[int], found: Segments, label: LabelImage, title: str) -> None:
    """Refuse segments that no name has."""
    if not unknown:
        return
    has = "the segment" if len(unknown) == 1 else "the segments"
    shown = ", ".join(_said(number, found) for number in unknown[:NAMED])
    more = ", ..." if len(unknown) > NAMED else ""
    named = ", ".join(
        repr(value) if isinstance(value, str) else f"{value:g}" for value, _ in label.values or ()
    )
    raise DataError(
        f"The mask {title} has {has} {shown}{more}, which no label names. Named are {named}. Add "
        "to dataset.labels (to its background what is none of the structures), or to "
        "dataset.ignore what is to count nowhere."
    )


def _said(number: int, found: Segments) -> str:
    text = found.labels.get(number)
    return f"{number} ({text!r})" if text else f"{number}"
