"""Flips and 90-degree rotations of batches, bit for bit as MONAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.builtin.transforms.batched.drawn import DrawnStep
from medpipe.plugin import TransformStep

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


class _Reordering(DrawnStep):
    """A random step that only reorders pixels: labels as images."""

    gives_float: ClassVar[bool] = False

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Reorder the labels' pixels."""
        return self.changed(labels, draws)


class BatchedRandFlip(_Reordering):
    """MONAI's `RandFlip` on a batch."""

    spatial_axis: int | tuple[int, ...] | None

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw nothing but that the sample is flipped."""
        return {"flip": True}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Flip the images."""
        return images.flip(_axes(images, self.spatial_axis))


class BatchedRandAxisFlip(_Reordering):
    """MONAI's `RandAxisFlip` on a batch."""

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the axis as a fraction of their number, which only the image tells."""
        return {"axis": rng.random()}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The axis that a sample is flipped along."""
        return int(draw["axis"] * len(sides)) if draw else None

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Flip the images along one axis."""
        axis = self.group(draws[0], images.shape[2:])
        return images.flip(_axes(images, axis))


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

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Rotate the images."""
        return images.rot90(draws[0]["turns"], _axes(images, self.spatial_axes))


def _axes(images: torch.Tensor, spatial: Any) -> list[int]:
    """The dimensions of a batch for MONAI's spatial axes."""
    from monai.transforms.utils import map_spatial_axes

    return [axis + 1 for axis in map_spatial_axes(images.ndim - 1, spatial)]
