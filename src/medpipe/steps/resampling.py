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
        result[some] = grid_sample(
            images[some],
            where,
            mode=mode or by.mode or "bilinear",
            padding_mode=by.padding_mode,
            align_corners=by.align_corners,
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
                f"the spatial_map of {self.name!r} gave None. Return a SpatialMap, or give the "
                "step methods changed and moved of its own"
            )
        return fitting(found, len(draws), len(sides), self.name)


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
            found = step.spatial_map(_draws_of(place, draws), sides)
            if found is None:
                return None
            fitting(found, len(draws), len(sides), step.name)
            whole = found if whole is None else found.after(whole)
            if whole is None:
                return None
        return whole

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images once, or step by step where that can't be."""
        found = self._one_map(images, draws)
        return resampled(images, found) if found else self._one_by_one(images, draws, "changed")

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels once, by nearest neighbour, then swap as each step does."""
        found = self._one_map(labels, draws)
        if found is None:
            return self._one_by_one(labels, draws, "moved")
        return self.swapped(resampled(labels, found, mode="nearest"), draws)

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap what each step swaps, in their order."""
        for place, step in enumerate(self.steps):
            labels = step.swapped(labels, _draws_of(place, draws))
        return labels

    def _one_map(
        self, values: torch.Tensor, draws: Sequence[Mapping[str, Any]]
    ) -> SpatialMap | None:
        """The map to resample by; None where the steps are applied one by one."""
        found = self.spatial_map(draws, values.shape[2:])
        return None if found is None or found.mode is None else found

    def _one_by_one(
        self, values: torch.Tensor, draws: Sequence[Mapping[str, Any]], method: str
    ) -> torch.Tensor:
        for place, step in enumerate(self.steps):
            some = _draws_of(place, draws)
            groups = [step.group(draw, values.shape[2:]) for draw in some]
            change = partial(_changed, getattr(step, method), some)
            values = in_groups(values, groups, change, step=step.name)
        return values


def _draws_of(place: int, draws: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was drawn for one of several steps."""
    return [draw["steps"][place] if draw else {} for draw in draws]


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
