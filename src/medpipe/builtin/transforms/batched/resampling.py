"""Resample a batch, each image by its own affine matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.builtin.transforms.batched.drawn import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medpipe.builtin.transforms.batched.matrices import Array

# Positions at a time: on a CPU their coordinates stay in its cache, and those of a large batch
# of volumes fill no device's memory.
_POSITIONS = {"cpu": 2**18}
_MOST_POSITIONS = 2**24


def resampled(
    images: torch.Tensor,
    maps: Array,
    *,
    per_voxel: Sequence[float],
    mode: str,
    padding_mode: str,
    align_corners: bool = False,
    size: Sequence[int] | None = None,
) -> torch.Tensor:
    """Sample each image at the positions that its affine map gives.

    Each image's result depends on its own values and map alone, not on the rest of the batch.

    Args:
        images: float32, of shape (batch, channels, spatial...).
        maps: Of shape (batch, dims, dims + 1): from voxels of the result to voxels of the image,
            both counted from the centre.
        per_voxel: The length of a voxel along each axis in the coordinates of torch's
            `grid_sample`, in which an image reaches from -1 to 1.
        mode: ``nearest``, ``bilinear`` (trilinear for volumes) or ``bicubic``.
        padding_mode: ``zeros``, ``border`` or ``reflection``.
        align_corners: Whether -1 and 1 are the centres of the outermost voxels, not their edges.
        size: The sides of the result; None: those of the images.
    """
    import numpy as np
    import torch
    from torch.nn.functional import grid_sample

    size = tuple(images.shape[2:] if size is None else size)
    scaled = torch.from_numpy(maps * np.asarray(per_voxel)[:, None]).float()
    scaled = on_device(scaled, images)
    voxels = [
        torch.arange(side, device=images.device, dtype=torch.float32) - (side - 1) / 2
        for side in size
    ]
    most = _POSITIONS.get(images.device.type, _MOST_POSITIONS)
    at_once = min(len(images), max(1, most // max(1, int(np.prod(size)))))
    positions = images.new_empty((at_once, *size, len(size)))
    result = images.new_empty((*images.shape[:2], *size))
    for start in range(0, len(images), at_once):
        some = slice(start, min(start + at_once, len(images)))
        where = positions[: some.stop - start]
        _fill(where, scaled[some], voxels)
        result[some] = grid_sample(
            images[some],
            where,
            mode=mode,
            padding_mode=padding_mode,
            align_corners=align_corners,
        )
    return result


def _fill(positions: torch.Tensor, maps: torch.Tensor, voxels: Sequence[torch.Tensor]) -> None:
    """Write positions of shape (batch, spatial..., dims), the last axis first, for `grid_sample`.

    It adds products along the axes, where `affine_grid` multiplies matrices: this takes a tenth of
    the time, and its rounding does not depend on the number of images.
    """
    import torch

    dims = len(voxels)
    for place, axis in enumerate(reversed(range(dims))):
        along = [
            (maps[:, axis, other, None] * voxels[other]).reshape(
                len(maps), *(-1 if other == each else 1 for each in range(dims))
            )
            for other in range(dims)
        ]
        total = along[0] + maps[:, axis, dims].reshape(-1, *(1,) * dims)
        for one in along[1:-1]:
            total = total + one
        torch.add(total, along[-1], out=positions[..., place])
