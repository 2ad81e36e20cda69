"""`SpatialMap`: where the voxels of a batch come from; resampling by it, and several as one.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.steps.drawn import DrawnStep, in_groups, on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import numpy as np
    import torch

    from medpipe.steps.kinds import TransformStep

    Array = np.ndarray[Any, np.dtype[np.float64]]

# Positions at a time: on a CPU their coordinates stay in its cache, and those of a large batch
# of volumes fill no device's memory.
_POSITIONS = {"cpu": 2**18}
_MOST_POSITIONS = 2**24


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
        mode: How images are interpolated: ``nearest``, ``bilinear`` (trilinear for volumes) or
            ``bicubic``. None: voxels are only reordered.
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


def fitting(found: SpatialMap, images: int, axes: int) -> SpatialMap:
    """The map that a step gave, if it is one for so many images of so many axes.

    One map would do for several images, and NaN take the values of a border, without a word.

    Raises:
        ValueError: It isn't; the message says what is expected.
        TypeError: It is no map.
    """
    import numpy as np

    if not isinstance(found, SpatialMap):
        raise TypeError(f"spatial_map gave a {type(found).__name__}. Return a SpatialMap")
    expected = (images, axes, axes + 1)
    maps, shifts = np.asarray(found.maps), found.shifts
    if not isinstance(found.maps, np.ndarray) or maps.shape != expected:
        raise ValueError(
            f"the maps of its spatial_map are a {type(found.maps).__name__} of shape {maps.shape}. "
            f"Give an array of shape {expected}: a map for each draw, an empty one included"
        )
    if shifts is not None and (shifts.shape[:2], shifts.ndim) != ((images, axes), 2 + axes):
        raise ValueError(
            f"the shifts of its spatial_map have the shape {shifts.shape}. Give {(images, axes)}, "
            f"then the number of control points of each of the {axes} axes"
        )
    if not np.isfinite(maps).all() or not (shifts is None or np.isfinite(shifts).all()):
        raise ValueError("its spatial_map has values that are NaN or infinite")
    if found.size is not None and len(found.size) != axes:
        raise ValueError(f"the size of its spatial_map is {found.size}. Give {axes} sides")
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


class ResampledStep(DrawnStep):
    """A random step that resamples images and labels: it says where their voxels come from.

    Of steps of this kind that follow each other in a chain, the library makes one resampling.

    Attributes:
        reorders: Whether voxels are only reordered, so that values are exact: such steps alone are
            applied one after the other.
    """

    spatial: ClassVar[bool] = True
    reorders: ClassVar[bool] = False

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Say where the voxels of some images come from.

        Args:
            draws: What was drawn for each image; where it is empty, the image stays.
            sides: The images' sides.

        Returns:
            None where a map can't say it: then the step is applied by itself.
        """
        raise NotImplementedError(f"{type(self).__name__} has no spatial_map method")

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images."""
        return resampled(images, self._map(draws, images.shape[2:]))

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels by nearest neighbour, and swap what `swapped` swaps."""
        found = resampled(labels, self._map(draws, labels.shape[2:]), mode="nearest")
        return self.swapped(found, draws)

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap structures whose sides a flip swaps; by default none.

        It changes each voxel by its own value alone, so that several steps may be one resampling.

        Args:
            labels: After they were moved, of shape (batch, 1 or names, spatial...).
            draws: What was drawn for each.
        """
        return labels

    def _map(self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]) -> SpatialMap:
        found = self.spatial_map(draws, sides)
        if found is None:
            raise ValueError(
                "spatial_map gave None. Return a SpatialMap, or give the step methods changed and "
                "moved of its own"
            )
        return fitting(found, len(draws), len(sides))


@attrs.frozen(kw_only=True)
class FusedStep(ResampledStep):
    """Several steps that move pixels as one resampling.

    Attributes:
        steps: The steps, in order.
    """

    name: ClassVar[str] = "fused"

    steps: tuple[ResampledStep, ...]
    prob: float = 1.0

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the values of each step; empty where none changes the sample."""
        drawn = [step.draw(rng) for step in self.steps]
        return {"steps": drawn} if any(drawn) else {}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """Whether a sample is changed; all are where the last step gives another size."""
        if draw:
            return True
        last = self.steps[-1].group({}, sides)
        return None if last is None else "resized"

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Compose the maps of the steps."""
        whole: SpatialMap | None = None
        for place, step in enumerate(self.steps):
            some = [draw["steps"][place] if draw else {} for draw in draws]
            found = step.spatial_map(some, sides)
            if found is None:
                return None
            fitting(found, len(draws), len(sides))
            whole = found if whole is None else found.after(whole)
            if whole is None:
                return None
        return whole

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images once, or step by step where that can't be."""
        found = self.spatial_map(draws, images.shape[2:])
        if found is not None and found.mode is not None:
            return resampled(images, found)
        return self._one_by_one(images, draws, "changed")

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels once, by nearest neighbour, then swap as each step does."""
        found = self.spatial_map(draws, labels.shape[2:])
        if found is None or found.mode is None:
            return self._one_by_one(labels, draws, "moved")
        labels = resampled(labels, found, mode="nearest")
        for place, step in enumerate(self.steps):
            labels = step.swapped(labels, [draw["steps"][place] if draw else {} for draw in draws])
        return labels

    def _one_by_one(
        self, values: torch.Tensor, draws: Sequence[Mapping[str, Any]], method: str
    ) -> torch.Tensor:
        for place, step in enumerate(self.steps):
            some = [draw["steps"][place] if draw else {} for draw in draws]
            groups = [step.group(draw, values.shape[2:]) for draw in some]
            values = in_groups(values, groups, partial(_changed, getattr(step, method), some))
        return values


def _changed(
    change: Callable[[torch.Tensor, Sequence[Mapping[str, Any]]], torch.Tensor],
    draws: Sequence[Mapping[str, Any]],
    values: torch.Tensor,
    places: Sequence[int],
) -> torch.Tensor:
    return change(values, [draws[place] for place in places])


def fused(steps: Sequence[tuple[str, TransformStep]]) -> Iterator[tuple[str, TransformStep]]:
    """The steps of a chain and their titles, with neighbours that resample as one."""
    for resamples, some in groupby(steps, key=lambda pair: _resamples(pair[1])):
        group = list(some)
        if not resamples or len(group) == 1 or _all_reorder(group):
            yield from group
        else:
            title = " and ".join(title.removesuffix(",") for title, _ in group)
            together = tuple(step for _, step in group if isinstance(step, ResampledStep))
            yield f"{title},", FusedStep(steps=together)


def _resamples(step: TransformStep) -> bool:
    return isinstance(step, ResampledStep) and step.batched


def _all_reorder(group: Sequence[tuple[str, TransformStep]]) -> bool:
    return all(isinstance(step, ResampledStep) and step.reorders for _, step in group)
