"""The mask of each structure, from labels as tasks whose labels are images have them.

SciPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.tasks.step import Array

Box = tuple[slice, ...]


def structure_masks(labels: Array, count: int) -> Iterator[Array]:
    """The mask of one structure after the other.

    Args:
        labels: uint8 of shape (1, spatial...), with 1 for the first structure and so on, or
            (structures, spatial...), with 1 where each is; see `TaskStep.decided`.
        count: How many structures there are.

    Yields:
        Bool of shape (spatial...); false where nothing counts.
    """
    for place in range(count):
        yield labels[place] == 1 if len(labels) == count else labels[0] == place + 1


def structure_pairs(
    predicted: Array, label: Array, count: int
) -> Iterator[tuple[Array, Array, Box] | None]:
    """Prediction and truth of one structure after the other, cropped to where either is.

    Args:
        predicted: As for `structure_masks`.
        label: The truth, of the same shape; `IGNORED` counts nowhere, in neither of them.
        count: How many structures there are.

    Yields:
        Two of bool and of one shape (spatial...), and where they were cut out; None for a
        structure of which nothing is known.
    """
    boxes = zip(_boxes(predicted, count), _boxes(label, count), strict=True)
    for place, found in enumerate(boxes):
        box = _around([one for one in found if one is not None], label.ndim - 1)
        channel = place if len(label) == count else 0
        whole = label[channel]
        true = whole[box]
        if bool((true == IGNORED).all() and (whole == IGNORED).all()):
            yield None
            continue
        value = 1 if len(label) == count else place + 1
        yield (predicted[channel][box] == value) & (true != IGNORED), true == value, box


def _boxes(labels: Array, count: int) -> list[Box | None]:
    """The smallest box that holds each structure; None for one that is nowhere."""
    from scipy.ndimage import find_objects

    if len(labels) != count:
        return list(find_objects(labels[0], max_label=count))
    return [find_objects(channel, max_label=1)[0] for channel in labels]


def _around(boxes: Sequence[Box], axes: int) -> Box:
    """The smallest box that holds some; an empty one for none."""
    if not boxes:
        return (slice(0, 0),) * axes
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
