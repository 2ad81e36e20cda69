"""Overlap of a predicted and a true structure, and distances between their surfaces.

NumPy and SciPy are imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

ROUNDING = 1e-6
"""The share of a tolerance by which a distance may be above it: 3 x 0.7 is not quite 2.1."""
_VOXELS_AT_ONCE = 1 << 20
_PER_POINT = 16
"""Voxels that a distance transform goes over while one voxel of a surface is searched for."""


@attrs.frozen(kw_only=True, eq=False)
class Structure:
    """One structure in a prediction and in the truth.

    Attributes:
        known: Whether the truth says anything of it: false where all of it is `IGNORED`.
        predicted: Voxels that are predicted.
        reference: Voxels that are true.
        both: Voxels that are both.
        masks: The prediction and the truth, bool of one shape, cropped to where either is; None
            where one of them is empty.
    """

    known: bool
    predicted: int
    reference: int
    both: int
    masks: tuple[Array, Array] | None

    @property
    def dice(self) -> float:
        """Twice the common voxels over the sum of both; NaN where the truth is empty."""
        if not self.reference:
            return math.nan
        return 2 * self.both / (self.predicted + self.reference)

    def surface_measures(self, spacing: Sequence[float], tolerance: float) -> tuple[float, float]:
        """The normalised surface Dice (NSD), and the 95th percentile of the distances (HD95).

        The surface of a structure is its voxels with a face outside of it or at the border of the
        image. NSD is the share of the voxels of both surfaces that are within the tolerance of
        the other surface; HD95 is the larger one of the 95th percentiles of the distances from
        each surface to the other. These are the definitions of MONAI's ``SurfaceDiceMetric`` and
        ``HausdorffDistanceMetric``; the package surface-distance weighs by area instead.

        Args:
            spacing: The distance between voxels along each axis.
            tolerance: In the unit of `spacing`.

        Returns:
            NaN and NaN where the truth is empty; 0 and NaN where it is missed.
        """
        if self.masks is None:
            return (0.0 if self.reference else math.nan), math.nan
        import numpy as np

        there, back = surface_distances(*self.masks, spacing)
        most = tolerance * (1 + ROUNDING)
        within = int((there <= most).sum()) + int((back <= most).sum())
        percentile = max(float(np.percentile(some, 95)) for some in (there, back))
        return within / (len(there) + len(back)), percentile


def exclusive_structures(predicted: Array, label: Array, count: int) -> Iterator[Structure]:
    """Compare images of indices: 0 is the background, 1 the first structure, and so on.

    Args:
        predicted: uint8 of shape (spatial...).
        label: The same; `IGNORED` counts nowhere.
        count: How many structures there are.
    """
    import numpy as np
    from scipy.ndimage import find_objects

    ignored = label == IGNORED
    known = not ignored.all()
    if ignored.any():
        predicted, label = np.where(ignored, 0, predicted), np.where(ignored, 0, label)
    both = _pair_counts(predicted, label, count + 1)
    boxes = [find_objects(some, max_label=count) for some in (predicted, label)]
    for value in range(1, count + 1):
        here, there = (found[value - 1] for found in boxes)
        masks = None
        if here is not None and there is not None:
            box = _around(here, there)
            masks = predicted[box] == value, label[box] == value
        yield Structure(
            known=known,
            predicted=int(both[value].sum()),
            reference=int(both[:, value].sum()),
            both=int(both[value, value]),
            masks=masks,
        )


def overlapping_structures(predicted: Array, label: Array) -> Iterator[Structure]:
    """Compare images with a channel of 0 and 1 for each structure.

    Args:
        predicted: uint8 of shape (structures, spatial...).
        label: The same; `IGNORED` counts nowhere.
    """
    for answer, truth in zip(predicted, label, strict=True):
        (found,) = exclusive_structures(answer, truth, 1)
        yield found


def surface_distances(
    predicted: Array, reference: Array, spacing: Sequence[float]
) -> tuple[Array, Array]:
    """The distances from each surface voxel to the nearest one of the other surface.

    Args:
        predicted: Bool of shape (spatial...), not empty.
        reference: The same.
        spacing: The distance between voxels along each axis.

    Returns:
        Float64, for the voxels of the surface of `predicted`, and for those of `reference`.
    """
    import numpy as np

    first, second = surface(predicted), surface(reference)
    voxels = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    to_nearest = _by_tree if voxels * _PER_POINT < first.size else _by_transform
    return to_nearest(first, second, spacing), to_nearest(second, first, spacing)


def surface(mask: Array) -> Array:
    """The voxels of a structure with a face outside of it, or at the border of the image.

    Args:
        mask: Bool of shape (spatial...).
    """
    import numpy as np

    inside = np.pad(mask, 1)
    inner = mask.copy()
    middle = slice(1, -1)
    for axis in range(mask.ndim):
        for moved in (slice(None, -2), slice(2, None)):
            place = [middle] * mask.ndim
            place[axis] = moved
            inner &= inside[tuple(place)]
    return mask & ~inner


def _by_tree(points: Array, targets: Array, spacing: Sequence[float]) -> Array:
    """Distances by a search for each voxel: less work where surfaces are few of the voxels."""
    import numpy as np
    from scipy.spatial import cKDTree

    step = np.asarray(spacing)
    # Balancing takes longer than it saves.
    tree = cKDTree(np.argwhere(targets) * step, balanced_tree=False, compact_nodes=False)
    found: Array = tree.query(np.argwhere(points) * step)[0]
    return found


def _by_transform(points: Array, targets: Array, spacing: Sequence[float]) -> Array:
    """Distances by a transform of all voxels."""
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    # Indices alone: distances are needed at the surface, not everywhere.
    nearest = distance_transform_edt(
        ~targets, sampling=spacing, return_distances=False, return_indices=True
    )
    squares = np.zeros(int(np.count_nonzero(points)))
    for place, near, step in zip(np.nonzero(points), nearest, spacing, strict=True):
        squares += ((near[points] - place) * step) ** 2
    return np.sqrt(squares)


def _pair_counts(predicted: Array, label: Array, values: int) -> Array:
    """How many voxels have each pair of values, int64 of shape (values, values)."""
    import numpy as np

    counts = np.zeros(values * values, dtype=np.int64)
    flat = predicted.ravel(), label.ravel()
    for start in range(0, predicted.size, _VOXELS_AT_ONCE):
        answer, truth = (some[start : start + _VOXELS_AT_ONCE].astype(np.intp) for some in flat)
        counts += np.bincount(answer * values + truth, minlength=values * values)
    return counts.reshape(values, values)


def _around(one: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    """The smallest box that holds both."""
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
