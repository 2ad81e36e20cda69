"""Random rotations and affine transforms of batches, equal to MONAI's up to rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.builtin.transforms.batched.drawing import both_ways, uniform
from medpipe.plugin import ResampledStep, SpatialMap

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np

Range = float | tuple[float, float]
Ranges = float | tuple[Range, ...] | None


class BatchedRandRotate(ResampledStep):
    """MONAI's `RandRotate` on a batch."""

    range_x: Range
    range_y: Range
    range_z: Range
    keep_size: bool
    mode: str
    padding_mode: str
    align_corners: bool

    @property
    def batched(self) -> bool:
        """False where each image gets its own size."""
        return self.keep_size

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the angles in radians; in 2-D only the first is used."""
        ranges = (self.range_x, self.range_y, self.range_z)
        return {"angles": [uniform(rng, *both_ways(most)) for most in ranges]}

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Rotate about the centres."""
        import numpy as np

        from medpipe.builtin.transforms.batched.matrices import rotations

        still = [0.0, 0.0, 0.0]
        angles = np.array([draw["angles"] if draw else still for draw in draws])
        return SpatialMap(
            maps=np.pad(rotations(angles, len(sides)), ((0, 0), (0, 0), (0, 1))),
            mode=self.mode,
            padding_mode=self.padding_mode,
            align_corners=self.align_corners,
        )


class BatchedRandAffine(ResampledStep):
    """MONAI's `RandAffine` on a batch."""

    spatial_size: int | tuple[int, ...] | None
    rotate_range: Ranges
    shear_range: Ranges
    translate_range: Ranges
    scale_range: Ranges
    mode: str
    padding_mode: str

    @property
    def batched(self) -> bool:
        """False where positions can lie midway between two voxels, so that rounding decides.

        That happens with mode ``nearest`` where a side changes between even and odd.
        """
        return self.spatial_size is None or self.mode != "nearest"

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw angles in radians, shears, translations in voxels and scales, one for each range."""
        return {
            "rotate": _drawn(rng, self.rotate_range),
            "shear": _drawn(rng, self.shear_range),
            "translate": _drawn(rng, self.translate_range),
            "scale": [1 + number for number in _drawn(rng, self.scale_range)],
        }

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """Whether a sample is transformed, or only resized."""
        if draw:
            return "mapped"
        return None if self._size(sides) == tuple(sides) else "resized"

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Apply the affine transforms."""
        import numpy as np

        from medpipe.builtin.transforms.batched.matrices import affine_maps

        still = {
            "rotate": [0.0] * _numbers(self.rotate_range),
            "shear": [0.0] * _numbers(self.shear_range),
            "translate": [0.0] * _numbers(self.translate_range),
            "scale": [1.0] * _numbers(self.scale_range),
        }
        drawn = {kind: np.array([draw.get(kind, still[kind]) for draw in draws]) for kind in still}
        return SpatialMap(
            maps=affine_maps(**drawn, dims=len(sides)),
            size=None if self.spatial_size is None else self._size(sides),
            mode=self.mode,
            padding_mode=self.padding_mode,
        )

    def _size(self, sides: Sequence[int]) -> tuple[int, ...]:
        from monai.utils import fall_back_tuple

        return tuple(int(side) for side in fall_back_tuple(self.spatial_size, tuple(sides)))


def _numbers(ranges: Ranges) -> int:
    """How many numbers are drawn for a parameter."""
    if ranges is None:
        return 0
    return 1 if isinstance(ranges, (int, float)) else len(ranges)


def _drawn(rng: np.random.Generator, ranges: Ranges) -> list[float]:
    """Draw a number for each range; a single number is the range of the first axis."""
    if ranges is None:
        return []
    return [
        uniform(rng, *both_ways(most))
        for most in ((ranges,) if isinstance(ranges, (int, float)) else ranges)
    ]
