"""Masks in reports: on the grids of their images, as outlines over pictures of them.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.labels import read_label
from medpipe.report.blocks import Legend
from medpipe.report.contours import Outlined, colour_of, outlined_picture
from medpipe.report.pictures import aspect, grey
from medpipe.report.planes import Plane, planes_through
from medpipe.tasks.label_image import IGNORED
from medpipe.tasks.structure_masks import structure_masks, structure_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.steps import DecodedImage, Reading, Sample, Task

    Array = np.ndarray[Any, np.dtype[Any]]

IGNORED_COLOUR, IGNORED_NAME = "#9aa4ae", "counts nowhere"
MOST = 24
"""Structures that a legend names."""
RANGE = (0.5, 99.5)
"""The percentiles of an image that are drawn black and white."""
MOST_VALUES = 1 << 20
"""Of about how many values of an image they are taken."""


def true_mask(sample: Sample, image: DecodedImage, reading: Reading) -> Array:
    """The mask of a sample, uint8 of shape (1 or names, rows, columns, ...).

    Raises:
        DataError: It can't be read, or lies on another grid.
    """
    import numpy as np

    label: Any = sample.label
    found = read_label(label, image, reading)
    return np.moveaxis(found.values, -1, 0) if found.channels else found.values[None]


def of_grid(labels: Array, grid: FileGrid) -> Array:
    """Labels on the grid of a file with the axes of a decoded image: rows first."""
    return labels.swapaxes(1, 2) if grid.axes == "wh" else labels


def legend(task: Task, masks: Sequence[Array], *, predicted: bool) -> Legend:
    """What the outlines of these masks mean.

    Args:
        task: Its names are the structures.
        masks: All that are drawn.
        predicted: Whether predictions are among them.
    """
    colours = [(colour_of(place), name) for place, name in enumerate(task.names[:MOST])]
    more = len(task.names) - MOST
    if more > 0:
        colours[-1] = (colours[-1][0], f"{colours[-1][1]}, and {more} more")
    if any((mask == IGNORED).any() for mask in masks):
        colours.append((IGNORED_COLOUR, IGNORED_NAME))
    return Legend(colours=colours, styles=("reference", "prediction") if predicted else ())


def outlined(masks: Array, names: int, *, dashed: bool = False, filled: bool = False) -> Any:
    """What to draw of masks of shape (1 or names, height, width)."""
    found = [
        Outlined(mask=mask, colour=colour_of(place), dashed=dashed, filled=filled)
        for place, mask in enumerate(structure_masks(masks, names))
    ]
    if not dashed and (masks == IGNORED).any():
        away = (masks == IGNORED).any(axis=0)
        found.insert(0, Outlined(mask=away, colour=IGNORED_COLOUR, filled=True))
    return found


@attrs.frozen(kw_only=True, eq=False)
class MaskedImage:
    """An image with its true mask, and what was predicted.

    Attributes:
        image: As its file decodes.
        truth: uint8 of shape (1 or names, rows, columns, ...).
        answer: The same of the prediction; None where there is none.
        names: How many structures there are.
    """

    image: DecodedImage
    truth: Array
    answer: Array | None = None
    names: int

    @property
    def volume(self) -> bool:
        """Whether it has slices."""
        return self.truth.ndim == 4

    def planes(self) -> tuple[list[Plane], str]:
        """A plane across each axis, and where they lie, as the end of a sentence.

        They go through most of the error: of each structure its share of the structure's volume,
        so that a small one that is missed counts as much as a large one. Without an error, or a
        prediction, they go through most of the structures.
        """
        if self.answer is not None:
            wrong = self._profiles(wrong=True)
            if any(profile.any() for profile in wrong):
                return planes_through(wrong, self.image), "through most of the error"
        return planes_through(self._profiles(wrong=False), self.image), "through most of the mask"

    def middle(self) -> Plane:
        """The slice with most of the mask."""
        slices = self._profiles(wrong=False)[2]
        place = int(slices.argmax()) if slices.any() else len(slices) // 2
        return Plane(axis=2, place=place)

    def picture(self, plane: Plane | None, side: int, *, filled: bool = False) -> str:
        """The image, or a plane of a volume, with outlines over it, as a data URI."""
        import numpy as np

        values = self.image.values
        low = high = None
        if values.dtype != np.uint8:  # one window for all planes of a volume
            some = values.reshape(-1)[:: max(1, values.size // MOST_VALUES) | 1]
            finite = some[np.isfinite(some)]
            if finite.size:
                low, high = (float(end) for end in np.percentile(finite, RANGE))

        def shown(some: Array) -> Array:
            return some if plane is None else plane.of(some, self.image)

        def flat(masks: Array) -> Array:
            return np.stack([shown(mask) for mask in masks])

        drawn = outlined(flat(self.truth), self.names, filled=filled)
        if self.answer is not None:
            drawn += outlined(flat(self.answer), self.names, dashed=True)
        ratio = aspect(self.image) if plane is None else plane.ratio(self.image)
        return outlined_picture(grey(shown(values), low, high), drawn, ratio, side)

    def _profiles(self, *, wrong: bool) -> list[Array]:
        """How much lies in each plane, along each axis."""
        import numpy as np

        sums = [np.zeros(side) for side in self.truth.shape[1:]]
        answer = self.truth if self.answer is None else self.answer
        for pair in structure_pairs(answer, self.truth, self.names):
            if pair is None:
                continue
            said, true, box = pair
            there = true ^ said if wrong else true
            whole = int(true.sum()) or int(there.sum())
            for axis, side in enumerate(box if whole else ()):
                others = tuple(set(range(len(box))) - {axis})
                sums[axis][side] += there.sum(axis=others) / whole
        return sums
