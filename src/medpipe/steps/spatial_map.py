"""`SpatialMap`: where the voxels of a batch come from, and resampling by it.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.steps.drawn import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[np.float64]]

# Positions at a time: on a CPU their coordinates stay in its cache, and those of a large batch
# of volumes fill no device's memory.
_POSITIONS = {"cpu": 2**18}
_MOST_POSITIONS = 2**24
MODES = ("nearest", "bilinear")
"""How any image can be interpolated; those of two axes by ``bicubic``, too."""
PADDING_MODES = ("zeros", "border", "reflection")


@attrs.frozen(kw_only=True, eq=False)
class SpatialMap:
    """Where the voxels of each image of a batch come from, when a step moves pixels.

    Attributes:
        maps: Affine maps from voxels of the result to voxels of the image, both counted from the
            centre: float64 of shape (batch, axes, axes + 1).
        shifts: Displacements of control points that are spread over the result, its corners
            included, in its voxels, and are added before the map: of shape (batch, axes,
            control points of each axis...). None: there are none.
        size: The sides of the result; None: those of the images.
        mode: How images are interpolated: ``nearest``, ``bilinear`` (trilinear for volumes) or,
            in 2-D, ``bicubic``. None: voxels are only reordered.
        padding_mode: What comes in from outside: ``zeros``, ``border`` or ``reflection``.
        align_corners: Whether an image ends at the centres of its outermost voxels, not at their
            edges, for ``reflection``.
    """

    maps: Array
    shifts: Array | None = None
    size: tuple[int, ...] | None = None
    mode: str | None = "bilinear"
    padding_mode: str = "border"
    align_corners: bool = False

    def after(self, earlier: SpatialMap) -> SpatialMap | None:
        """The map of both, this one being of the later step; None where they don't go together."""
        import numpy as np

        if earlier.size is not None or earlier.shifts is not None:
            return None
        kinds = {
            (one.mode, one.padding_mode, one.align_corners)
            for one in (self, earlier)
            if one.mode is not None
        }
        if len(kinds) != 1:
            return None
        ((mode, padding_mode, align_corners),) = kinds
        linear = earlier.maps[:, :, :-1]
        maps = linear @ self.maps
        maps[:, :, -1] += earlier.maps[:, :, -1]
        return SpatialMap(
            maps=np.ascontiguousarray(maps),
            shifts=self.shifts,
            size=self.size,
            mode=mode,
            padding_mode=padding_mode,
            align_corners=align_corners,
        )


def fitting(found: SpatialMap, images: int, axes: int, step: str) -> SpatialMap:
    """The map that a step gave, if it is one for so many images of so many axes.

    One map would do for several images, and NaN take the values of a border, without a word.

    Args:
        found: What the step's ``spatial_map`` gave.
        images: How many images it is for.
        axes: How many axes they have.
        step: The name of the step, for errors.

    Raises:
        ValueError: It isn't; the message names the step and the field, and says what is expected.
        TypeError: It is no map.
    """
    import numpy as np

    whose = f"spatial_map of {step!r}"
    if not isinstance(found, SpatialMap):
        raise TypeError(f"the {whose} gave a {type(found).__name__}. Return a SpatialMap")
    expected = (images, axes, axes + 1)
    maps, shifts = np.asarray(found.maps), found.shifts
    if not isinstance(found.maps, np.ndarray) or maps.shape != expected:
        raise ValueError(
            f"the maps in the {whose} are a {type(found.maps).__name__} of shape {maps.shape}. "
            f"Give an array of shape {expected}: a map for each draw, an empty one included"
        )
    if shifts is not None and (shifts.shape[:2], shifts.ndim) != ((images, axes), 2 + axes):
        raise ValueError(
            f"the shifts in the {whose} have the shape {shifts.shape}. Give {(images, axes)}, "
            f"then the number of control points of each of the {axes} axes"
        )
    if not np.isfinite(maps).all() or not (shifts is None or np.isfinite(shifts).all()):
        raise ValueError(f"the {whose} has values that are NaN or infinite")
    if found.size is not None and len(found.size) != axes:
        raise ValueError(f"the size in the {whose} is {found.size}. Give {axes} sides")
    fields = (
        ("mode", found.mode, (*MODES, *(["bicubic"] if axes == 2 else []), None)),
        ("padding_mode", found.padding_mode, PADDING_MODES),
    )
    wrong = [
        f"{field} = {given!r} in the {whose}: give one of {', '.join(map(repr, allowed))}"
        for field, given, allowed in fields
        if given not in allowed
    ]
    if wrong:
        raise ValueError(f"there is {'; and '.join(wrong)}")
    return found


def resampled(images: torch.Tensor, by: SpatialMap, *, mode: str | None = None) -> torch.Tensor:
    """Sample each image at the positions that its affine map gives.

    Each image's result depends on its own values and map alone, not on the rest of the batch.

    Args:
        images: float32, of shape (batch, channels, spatial...).
        by: The map.
        mode: In place of the map's: ``nearest`` for labels.
    """
    import numpy as np
    import torch
    from torch.nn.functional import grid_sample

    sides = images.shape[2:]
    size = tuple(sides if by.size is None else by.size)
    chosen = mode or by.mode or "bilinear"
    # Of pictures torch's own is as fast.
    plain = chosen == "nearest" and by.padding_mode == "border"
    quick = plain and len(sides) == 3 and images.device.type == "cpu"
    # An image reaches from -1 to 1 in the coordinates of `grid_sample`.
    per_voxel = [2 / (max(2, side) - 1 if by.align_corners else max(2, side)) for side in sides]
    scaled = torch.from_numpy(by.maps * np.asarray(per_voxel)[:, None]).float()
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
        if by.shifts is not None:
            _displace(where, scaled[some], by.shifts[some])
        if quick:
            result[some] = _nearest(images[some], where, align_corners=by.align_corners)
            continue
        result[some] = grid_sample(
            images[some],
            where,
            mode=chosen,
            padding_mode=by.padding_mode,
            align_corners=by.align_corners,
        )
    return result


def _nearest(images: torch.Tensor, positions: torch.Tensor, *, align_corners: bool) -> torch.Tensor:
    """What `grid_sample` gives, by one look-up, which takes a CPU a third of the time."""
    sides = images.shape[2:]
    found: torch.Tensor | None = None
    for axis, side in enumerate(sides):
        along = positions[..., len(sides) - 1 - axis] + 1
        along = along.div_(2).mul_(side - 1) if align_corners else along.mul_(side).sub_(1).div_(2)
        along = along.clamp_(0, side - 1).round_().long()
        found = along if found is None else found.mul_(side).add_(along)
    assert found is not None
    places = found.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, places).reshape(*images.shape[:2], *positions.shape[1:-1])


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


def _displace(positions: torch.Tensor, maps: torch.Tensor, shifts: Array) -> None:
    """Add displacements, interpolated between their control points, to positions."""
    import torch
    from torch.nn.functional import interpolate

    points = on_device(torch.from_numpy(shifts).float(), positions)
    moved = torch.einsum("bij,bj...->bi...", maps[:, :, :-1], points)
    field = interpolate(
        moved,
        size=positions.shape[1:-1],
        mode="trilinear" if positions.shape[-1] == 3 else "bilinear",
        align_corners=True,
    )
    positions += field.flip(1).movedim(1, -1)
