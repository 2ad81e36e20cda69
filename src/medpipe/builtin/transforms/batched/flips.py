"""Flips and 90-degree rotations of batches, bit for bit as MONAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.builtin.transforms.swapping import LEFT_TO_RIGHT, Pairs, swapped_where
from medpipe.plugin import ResampledStep, SpatialMap, TransformStep

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    import torch


class BatchedFlip(TransformStep):
    """MONAI's `Flip` on a batch."""

    spatial_axis: int | tuple[int, ...] | None

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Flip all images."""
        images = batch["image"]
        return {**batch, "image": images.flip(_axes(images, self.spatial_axis))}


class BatchedRotate90(TransformStep):
    """MONAI's `Rotate90` on a batch."""

    k: int
    spatial_axes: tuple[int, int]

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Rotate all images."""
        images = batch["image"]
        return {**batch, "image": images.rot90(self.k, _axes(images, self.spatial_axes))}


class _Reordering(ResampledStep):
    """A random step that only reorders pixels: labels as images."""

    gives_float: ClassVar[bool] = False
    reorders: ClassVar[bool] = True

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Reorder the labels' pixels, and swap what `swapped` swaps."""
        return self.swapped(self.changed(labels, draws), draws)


class _RandomFlip(_Reordering):
    """A random flip, which swaps structures where it makes left of right."""

    swap_labels: Pairs

    def flipped(self, draw: Mapping[str, Any], dims: int) -> list[int]:
        """The spatial axes along which an image of so many is flipped."""
        raise NotImplementedError(f"{type(self).__name__} has no flipped method")

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Flip about the centres."""
        import numpy as np

        dims = len(sides)
        maps = np.tile(np.eye(dims, dims + 1), (len(draws), 1, 1))
        for place, draw in enumerate(draws):
            for axis in self.flipped(draw, dims):
                maps[place, axis, axis] = -1
        return SpatialMap(maps=maps, mode=None)

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Flip the images, all along the same axes."""
        return images.flip([axis + 2 for axis in self.flipped(draws[0], images.ndim - 2)])

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap the structures of `swap_labels` where left and right were flipped."""
        dims = labels.ndim - 2
        flipped = [LEFT_TO_RIGHT in self.flipped(draw, dims) for draw in draws]
        return swapped_where(labels, flipped, self.swap_labels, self.name)


class BatchedRandFlip(_RandomFlip):
    """MONAI's `RandFlip` on a batch."""

    spatial_axis: int | tuple[int, ...] | None

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw nothing but that the sample is flipped."""
        return {"flip": True}

    def flipped(self, draw: Mapping[str, Any], dims: int) -> list[int]:
        """The axes of `spatial_axis`."""
        return [axis - 2 for axis in _axes_of(dims + 2, self.spatial_axis)] if draw else []


class BatchedRandAxisFlip(_RandomFlip):
    """MONAI's `RandAxisFlip` on a batch."""

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the axis as a fraction of their number, which only the image tells."""
        return {"axis": rng.random()}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The axis that a sample is flipped along."""
        return self.flipped(draw, len(sides))[0] if draw else None

    def flipped(self, draw: Mapping[str, Any], dims: int) -> list[int]:
        """The axis that was drawn."""
        return [int(draw["axis"] * dims)] if draw else []


class BatchedRandRotate90(_Reordering):
    """MONAI's `RandRotate90` on a batch."""

    max_k: int
    spatial_axes: tuple[int, int]

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the number of rotations by 90 degrees."""
        return {"turns": int(rng.integers(self.max_k)) + 1}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The number of rotations of a sample."""
        return draw["turns"] % 4 if draw else None

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Rotate about the centres; None where a quarter turn changes the sides."""
        import numpy as np

        one, other = (axis - 2 for axis in _axes_of(len(sides) + 2, self.spatial_axes))
        if sides[one] != sides[other]:
            return None
        maps = np.tile(np.eye(len(sides), len(sides) + 1), (len(draws), 1, 1))
        for place, draw in enumerate(draws):
            turned = np.rot90(np.arange(9).reshape(3, 3), draw["turns"] if draw else 0)
            # Where the voxels after the centre along both axes come from, counted from it.
            for axis, at in ((one, turned[2, 1]), (other, turned[1, 2])):
                maps[place, one, axis], maps[place, other, axis] = at // 3 - 1, at % 3 - 1
        return SpatialMap(maps=maps, mode=None)

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Rotate the images."""
        return images.rot90(draws[0]["turns"], _axes(images, self.spatial_axes))


def _axes(images: torch.Tensor, spatial: Any) -> list[int]:
    """The dimensions of a batch for MONAI's spatial axes."""
    return _axes_of(images.ndim, spatial)


def _axes_of(dimensions: int, spatial: Any) -> list[int]:
    from monai.transforms.utils import map_spatial_axes

    return [axis + 1 for axis in map_spatial_axes(dimensions - 1, spatial)]
