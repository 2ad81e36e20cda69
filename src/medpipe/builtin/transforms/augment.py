"""The augmentation of default chains: one small affine change of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.transforms.batched.drawn import DrawnStep, uniform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

_AXES = 3
"""So many numbers are drawn; images of fewer axes leave the last ones unused."""


@attrs.frozen(kw_only=True)
class Augment(DrawnStep):
    """Rotates, shifts, zooms and flips an image at random, in one resampling.

    By default it only rotates and shifts, which few labels mind: sizes, left and right stay. What
    comes in from outside has the values of the edge. MONAI's `RandAffine` has translations in
    voxels; here they are shares of the sides, so that they fit images of any size.

    Attributes:
        prob: Probability that an image is changed.
        rotate_range: The largest angle in radians, about each axis in 3-D.
        translate_range: The largest translation along each axis, as a share of the side.
        scale_range: The largest zoom, as a share: 0.1 is from 0.9 to 1.1, the same on all axes.
        flip_axes: Spatial axes that are flipped with a probability of one half.
    """

    name: ClassVar[str] = "augment"
    random: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

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
    flip_axes: tuple[int, ...] = attrs.field(
        default=(), validator=attrs.validators.deep_iterable(attrs.validators.in_(range(_AXES)))
    )

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw angles in radians, translations as shares, a zoom, and which axes are flipped."""
        return {
            "rotate": [uniform(rng, -self.rotate_range, self.rotate_range) for _ in range(_AXES)],
            "translate": [
                uniform(rng, -self.translate_range, self.translate_range) for _ in range(_AXES)
            ],
            "zoom": 1 + uniform(rng, -self.scale_range, self.scale_range),
            "flips": [axis for axis in self.flip_axes if rng.random() < 0.5],
        }

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images."""
        return self._resampled(images, draws, "bilinear")

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels by nearest neighbour."""
        return self._resampled(labels, draws, "nearest")

    def _resampled(
        self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]], mode: str
    ) -> torch.Tensor:
        import numpy as np

        from medpipe.builtin.transforms.batched.matrices import affine_maps
        from medpipe.builtin.transforms.batched.resampling import resampled

        sides = images.shape[2:]
        missing = [axis for axis in self.flip_axes if axis >= len(sides)]
        if missing:
            raise ValueError(f"flip_axes names axis {missing[0]} of images of {len(sides)} axes")
        factors = np.array([[1 / draw["zoom"]] * len(sides) for draw in draws])
        for place, draw in enumerate(draws):
            factors[place, draw["flips"]] *= -1
        maps = affine_maps(
            np.array([draw["rotate"] for draw in draws]),
            np.zeros((len(draws), 0)),
            np.array([draw["translate"][: len(sides)] for draw in draws]) * np.array(sides),
            factors,
            dims=len(sides),
        )
        return resampled(
            images,
            maps,
            per_voxel=[2 / max(2, side) for side in sides],
            mode=mode,
            padding_mode="border",
        )
