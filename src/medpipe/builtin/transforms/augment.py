"""The augmentation of default chains: one small affine change of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.transforms.batched.drawing import uniform
from medpipe.builtin.transforms.swapping import (
    LEFT_TO_RIGHT,
    Pairs,
    are_pairs,
    swapped_where,
)
from medpipe.plugin import ResampledStep, SpatialMap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

_AXES = 3
"""So many numbers are drawn; images of fewer axes leave the last ones unused."""
_POINTS = 5
"""Control points of a deformation along each axis."""
_NOTHING: Mapping[str, Any] = {
    "rotate": [0.0] * _AXES,
    "translate": [0.0] * _AXES,
    "zoom": 1.0,
    "flips": [],
    "elastic": None,
}
"""The values of a sample that is not changed, but for the place of its region."""


def _sides(_: object, attribute: attrs.Attribute[Any], value: tuple[int, ...] | None) -> None:
    if value is not None and (not value or min(value) < 1):
        raise ValueError(f"{attribute.name} must be whole numbers from 1, got {list(value)}.")


def _flips_sides(step: Augment, _: object, value: Pairs) -> None:
    if value and LEFT_TO_RIGHT not in step.flip_axes:
        raise ValueError("swap_labels needs a flip of left and right: give flip_axes = [0], too.")


@attrs.frozen(kw_only=True)
class Augment(ResampledStep):
    """Rotates, shifts, zooms, flips and deforms an image at random, in one resampling.

    By default it only rotates and shifts, which few labels mind: sizes, left and right stay. What
    comes in from outside has the values of the edge. MONAI's `RandAffine` has translations in
    voxels; here they are shares of the sides, so that they fit images of any size.

    Attributes:
        prob: Probability that an image is changed.
        rotate_range: The largest angle in radians, about each axis in 3-D.
        translate_range: The largest translation along each axis, as a share of the side.
        scale_range: The largest zoom, as a share: 0.1 is from 0.9 to 1.1, the same on all axes.
        elastic_range: The largest displacement of a control point of an elastic deformation, as a
            share of their distance; there are five along each axis. Up to about 0.4 nothing folds.
        flip_axes: Spatial axes that are flipped with a probability of one half.
        swap_labels: Pairs of structures that are each other's other side, such as ``[[1, 2]]`` for
            ``left_kidney`` and ``right_kidney``: by their numbers, from 1 in the order of the
            data set's labels. Where axis 0 is flipped, left to right, masks have one in place of
            the other.
        spatial_size: The size of a region that is cut out of each image at a random place, in the
            same resampling: patches for networks that give an output for each pixel, which see
            whole images when they are evaluated. None: the whole image.
    """

    name: ClassVar[str] = "augment"

    prob: float = attrs.field(
        default=0.75, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )
    rotate_range: float = attrs.field(default=0.26, validator=attrs.validators.ge(0))
    translate_range: float = attrs.field(
        default=0.1, validator=[attrs.validators.ge(0), attrs.validators.lt(1)]
    )
    scale_range: float = attrs.field(
        default=0.0, validator=[attrs.validators.ge(0), attrs.validators.lt(1)]
    )
    elastic_range: float = attrs.field(
        default=0.0, validator=[attrs.validators.ge(0), attrs.validators.lt(1)]
    )
    flip_axes: tuple[int, ...] = attrs.field(
        default=(), validator=attrs.validators.deep_iterable(attrs.validators.in_(range(_AXES)))
    )
    swap_labels: Pairs = attrs.field(default=(), validator=[are_pairs, _flips_sides])
    spatial_size: tuple[int, ...] | None = attrs.field(default=None, validator=_sides)

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw a sample's values; with a `spatial_size` each sample has a place."""
        drawn = super().draw(rng)
        if self.spatial_size is None:
            return drawn
        return {**(drawn or _NOTHING), "place": [uniform(rng, -1, 1) for _ in range(_AXES)]}

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw angles in radians, translations as shares, a zoom, and which axes are flipped."""
        return {
            "rotate": [uniform(rng, -self.rotate_range, self.rotate_range) for _ in range(_AXES)],
            "translate": [
                uniform(rng, -self.translate_range, self.translate_range) for _ in range(_AXES)
            ],
            "zoom": 1 + uniform(rng, -self.scale_range, self.scale_range),
            "flips": [axis for axis in self.flip_axes if rng.random() < 0.5],
            # Only the image tells the number of axes.
            "elastic": int(rng.integers(2**63)) if self.elastic_range else None,
        }

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Rotate, shift, zoom, flip and cut."""
        import numpy as np

        from medpipe.builtin.transforms.batched.matrices import affine_maps

        draws = [draw or _NOTHING for draw in draws]
        missing = [axis for axis in self.flip_axes if axis >= len(sides)]
        if missing:
            raise ValueError(f"flip_axes names axis {missing[0]} of images of {len(sides)} axes")
        factors = np.array([[1 / draw["zoom"]] * len(sides) for draw in draws])
        for place, draw in enumerate(draws):
            factors[place, draw["flips"]] *= -1
        shifts = np.array([draw["translate"][: len(sides)] for draw in draws]) * np.array(sides)
        maps = affine_maps(
            np.array([draw["rotate"] for draw in draws]),
            np.zeros((len(draws), 0)),
            shifts,
            factors,
            dims=len(sides),
        )
        if self.spatial_size is not None:
            spare = self._spare(sides)
            places = np.array([draw["place"][: len(sides)] for draw in draws])
            maps[:, :, -1] += places * spare / 2
        return SpatialMap(maps=maps, size=self.spatial_size, shifts=self._shifts(draws, sides))

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap the structures of `swap_labels` where left and right were flipped."""
        flipped = [bool(draw) and LEFT_TO_RIGHT in draw["flips"] for draw in draws]
        return swapped_where(labels, flipped, self.swap_labels, self.name)

    def _shifts(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> np.ndarray[Any, Any] | None:
        """The displacements of control points, in voxels; None where there are none."""
        import numpy as np

        if not self.elastic_range:
            return None
        size = np.array(self.spatial_size or sides)
        most = self.elastic_range * (size - 1) / (_POINTS - 1)
        shape = (len(sides), *[_POINTS] * len(sides))
        shifts = np.zeros((len(draws), *shape))
        for one, draw in zip(shifts, draws, strict=True):
            if draw["elastic"] is not None:
                one[:] = np.random.default_rng(draw["elastic"]).uniform(-1, 1, shape)
        shifts *= most.reshape(-1, *[1] * len(sides))
        return shifts

    def _spare(self, sides: Sequence[int]) -> np.ndarray[Any, Any]:
        """By how much an image is larger than the region.

        Raises:
            ValueError: It is smaller, or has another number of axes.
        """
        import numpy as np

        size = self.spatial_size or ()
        if len(size) != len(sides):
            raise ValueError(
                f"augment.spatial_size has {len(size)} numbers, {list(size)}, and images have "
                f"{len(sides)} axes. Give one for each."
            )
        spare: np.ndarray[Any, Any] = np.array(sides) - np.array(size)
        if (spare < 0).any():
            raise ValueError(
                f"an image of {tuple(sides)} is smaller than augment.spatial_size = {list(size)}. "
                "Add the step 'spatial_pad' before it, with this spatial_size."
            )
        return spare
