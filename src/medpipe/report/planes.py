"""Planes through volumes: where they lie, and how viewers show them.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.report.pictures import turned

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.steps import DecodedImage

    Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("sagittal", "coronal", "axial")
"""Of planes across the axis from left to right, from back to front, and from feet to head."""
SIDES = ("across rows", "across columns", "across slices")


@attrs.frozen(kw_only=True)
class Plane:
    """A plane of a volume.

    Attributes:
        axis: Across which axis of the volume it lies: rows, columns or slices.
        place: Where along that axis.
    """

    axis: int
    place: int

    def of(self, values: Array, image: DecodedImage) -> Array:
        """Its values as a viewer shows them, of shape (height, width) or with channels.

        Args:
            values: Of shape (rows, columns, slices), or with one axis more.
            image: The image on whose grid they lie.
        """
        import numpy as np

        found: Array = np.take(values, self.place, axis=self.axis)
        if image.affine is None:
            return found
        down, across = (_direction(image.affine, axis) for axis in self._others)
        return turned(found, across, down)

    def ratio(self, image: DecodedImage) -> float:
        """Height of a pixel over its width, as `of` turns it; 1 where that is not known."""
        import numpy as np

        if image.spacing is None or min(image.spacing) <= 0:
            return 1.0
        down, across = (image.spacing[axis] for axis in self._others)
        shape = [2 if axis == self._others[0] else 1 for axis in range(3)]
        whole = attrs.evolve(self, place=0).of(np.zeros(shape), image)
        return float(down / across if whole.shape == (2, 1) else across / down)

    def title(self, image: DecodedImage) -> str:
        """``axial, 12 of 35``: the axis is the nearest one where the volume lies obliquely."""
        import numpy as np

        name = SIDES[self.axis]
        if image.affine is not None:
            name = NAMES[int(np.abs(_direction(image.affine, self.axis)).argmax())]
        return f"{name}, {self.place + 1} of {image.values.shape[self.axis]}"

    @property
    def _others(self) -> tuple[int, int]:
        rows, columns = (axis for axis in range(3) if axis != self.axis)
        return rows, columns


def planes_through(profiles: Sequence[Array], image: DecodedImage) -> list[Plane]:
    """A plane across each axis, where the most lies of what is looked for; axial ones first.

    Args:
        profiles: How much lies in each plane, along rows, columns and slices.
        image: The volume; planes of which a side is one voxel are left out.
    """
    sides = image.values.shape[:3]
    found = [
        Plane(axis=axis, place=int(profile.argmax()) if profile.max() > 0 else len(profile) // 2)
        for axis, profile in enumerate(profiles)
        if min(side for other, side in enumerate(sides) if other != axis) > 1
    ]
    order = [*reversed(NAMES), *reversed(SIDES)]
    return sorted(found, key=lambda plane: order.index(plane.title(image).rpartition(",")[0]))


def _direction(affine: Array, axis: int) -> Array:
    """Where an axis of the volume leads: the affine has columns first."""
    direction: Array = affine[:3, (1, 0, 2)[axis]]
    return direction
