"""The mask of each structure, from labels as tasks whose labels are images have them.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medpipe.tasks.step import Array


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
) -> Iterator[tuple[Array, Array] | None]:
    """Prediction and truth of one structure after the other, cropped to where either is.

    Args:
        predicted: As for `structure_masks`.
        label: The truth, of the same shape; `IGNORED` counts nowhere, in neither of them.
        count: How many structures there are.

    Yields:
        Two of bool and of one shape (spatial...); None for a structure of which nothing is known.
    """
    import numpy as np

    anywhere = (predicted > 0) | ((label > 0) & (label < IGNORED))
    box = _box(np.asarray(anywhere.any(axis=0)))
    said, true = predicted[(slice(None), *box)], label[(slice(None), *box)]
    answers, truths = structure_masks(said, count), structure_masks(true, count)
    for place, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        channel = place if len(label) == count else 0
        if (label[channel] == IGNORED).all():
            yield None
            continue
        answer = answer & (true[channel] != IGNORED)
        own = _box(answer | truth)
        yield answer[own], truth[own]


def _box(there: Array) -> tuple[slice, ...]:
    """The smallest box that holds what is true; an empty one where nothing is."""
    import numpy as np

    sides = []
    for axis in range(there.ndim):
        others = tuple(set(range(there.ndim)) - {axis})
        places = np.flatnonzero(there.any(axis=others)) if there.ndim > 1 else np.flatnonzero(there)
        sides.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0))
    return tuple(sides)
