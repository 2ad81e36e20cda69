"""Where an image lies, and the way from the grid of a chain's result back to that of its file.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
import torch
from torch.nn.functional import grid_sample

if TYPE_CHECKING:
    from medpipe.steps import DecodedImage

    Array = np.ndarray[Any, np.dtype[Any]]

Decide = Callable[[torch.Tensor], torch.Tensor]
"""Turns outputs into labels; see `TaskStep.decided`."""

EXACT = 1e-2
"""How far a map may be from whole voxels and quarter turns, in voxels, for pixels to be moved."""
NOTHING = 1e-6
"""What is taken for rounding in a map, in voxels over a whole image."""
POSITIONS = 1 << 20
"""How many positions are resampled at a time."""

Region = Sequence["slice[int, int, None]"]
"""A part of an image, that is cut along one axis at most."""


@attrs.frozen(kw_only=True, eq=False)
class FileGrid:
    """The grid of an image as it left the chain, and that of its file.

    Attributes:
        affine: Of the image as it left the chain: from voxels to millimetres (RAS+), (4, 4).
        file_affine: The same of the image as it was loaded.
        file_shape: Its sides as it was loaded.
        axes: Whether the width or the height came first.
        known: Whether `file_affine` is in millimetres of the patient.
    """

    affine: Array
    file_affine: Array
    file_shape: tuple[int, ...]
    axes: Literal["wh", "hw"]
    known: bool

    @classmethod
    def of(cls, image: Any) -> FileGrid | None:
        """Read it from a `MetaTensor`; None where a step dropped the metadata."""
        meta = getattr(image, "meta", None) or {}
        if "file_shape" not in meta or "affine" not in meta:
            return None
        return cls(
            affine=np.asarray(meta["affine"], np.float64),
            file_affine=np.asarray(meta["file_affine"], np.float64),
            file_shape=tuple(int(side) for side in meta["file_shape"]),
            axes=meta["axes"],
            known=meta.get("spacing_of") == "patient",
        )

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Millimetres between the file's voxels along each axis; None where that is not known."""
        if not self.known:
            return None
        lengths = np.linalg.norm(self.file_affine[:3, :3], axis=0)
        return tuple(float(length) for length in lengths[: len(self.file_shape)])

    @property
    def unit(self) -> str:
        """What lengths are counted in: ``mm``; ``pixels`` or ``voxels`` without a spacing."""
        if self.known:
            return "mm"
        return "voxels" if len(self.file_shape) > 2 else "pixels"

    def of_file(self, decoded: DecodedImage) -> Array:
        """The values of a decoded label on the file's grid, of shape (channels, spatial...)."""
        values = decoded.values
        first = np.moveaxis(values, -1, 0) if decoded.channels else values[None]
        return np.ascontiguousarray(first.swapaxes(1, 2) if self.axes == "wh" else first)

    def to_file(self, outputs: torch.Tensor, decide: Decide) -> torch.Tensor:
        """Put a network's outputs for one image onto the grid of its file.

        Where the chain only turned, cropped and padded, decided labels are moved and every voxel
        stays what it is. Else outputs are interpolated linearly at the file's voxels and then
        decided. What lies outside of what the network saw is background.

        Args:
            outputs: Of shape (outputs, spatial...).
            decide: Turns outputs into labels; see `TaskStep.decided`.

        Returns:
            uint8 of shape (channels, *`file_shape`), on the CPU.
        """
        sides = tuple(outputs.shape[1:])
        labels = FileLabels(self, sides, decide)
        labels.add([slice(0, side) for side in sides], outputs)
        return labels.whole()

    @property
    def only_moved(self) -> bool:
        """Whether the chain only turned, cropped and padded."""
        linear, shift = self.file_to_chain()
        turns, longest = np.round(linear), max(self.file_shape)
        quarter = all((np.abs(turns).sum(axis) == 1).all() for axis in (0, 1))
        near = np.abs(linear - turns).max() * longest, np.abs(shift - np.round(shift)).max()
        return bool(quarter and max(near) < EXACT)

    def move(self, labels: torch.Tensor) -> torch.Tensor:
        """Put labels onto the grid of the file, where the chain only moved pixels.

        Args:
            labels: uint8 of shape (channels, spatial...).

        Returns:
            uint8 of shape (channels, *`file_shape`), on the CPU.
        """
        linear, shift = self.file_to_chain()
        return _moved(labels.cpu(), np.round(linear), np.round(shift), self.file_shape)

    def file_to_chain(self) -> tuple[Array, Array]:
        """From voxels of the file to those of the chain's result: a matrix, and what is added."""
        dims = len(self.file_shape)
        whole = np.linalg.inv(self.affine) @ self.file_affine
        return whole[:dims, :dims], whole[:dims, 3]


def _moved(labels: torch.Tensor, turns: Array, shift: Array, shape: Sequence[int]) -> torch.Tensor:
    """Labels at the positions of a map of whole voxels."""
    sources = [int(np.abs(turns[:, axis]).argmax()) for axis in range(len(shape))]
    moved = labels.permute(0, *(1 + source for source in sources))
    for axis, (source, side) in enumerate(zip(sources, shape, strict=True)):
        places = torch.arange(side) * int(turns[source, axis]) + int(shift[source])
        length = labels.shape[1 + source]
        inside = (places >= 0) & (places < length)
        moved = moved.index_select(axis + 1, places.clamp(0, length - 1))
        if not bool(inside.all()):
            of_axis = [-1 if one == axis else 1 for one in range(len(shape))]
            moved = moved * inside.reshape(1, *of_axis).to(moved.dtype)
    return moved.contiguous()


class FileLabels:
    """The labels of an image on the grid of its file, put together of regions of its outputs.

    So the outputs of a large volume are never in memory as a whole.

    Args:
        grid: That of the image as it left the chain, and that of its file.
        sides: Of the image as it left the chain.
        decide: Turns outputs into labels; see `TaskStep.decided`.
    """

    def __init__(self, grid: FileGrid, sides: Sequence[int], decide: Decide) -> None:
        self._grid, self._sides, self._decide = grid, tuple(sides), decide
        self._only_moved = grid.only_moved
        linear, shift = grid.file_to_chain()
        self._map = np.where(np.abs(linear) * max(grid.file_shape) < NOTHING, 0, linear), shift
        self._found: torch.Tensor | None = None
        self._edge: torch.Tensor | None = None

    def add(self, region: Region, outputs: torch.Tensor) -> None:
        """Add the outputs of a region; regions come in their order along the axis that is cut.

        Args:
            region: Where it lies in the image.
            outputs: Of shape (outputs, sides of the region...); they may change afterwards.
        """
        if not self._only_moved:
            self._resample(region, outputs)
            return
        labels = self._decide(outputs[None])[0].cpu()
        if tuple(labels.shape[1:]) == self._sides:
            self._found = labels
            return
        if self._found is None:
            self._found = labels.new_zeros(len(labels), *self._sides)
        self._found[:, *region] = labels

    def whole(self) -> torch.Tensor:
        """The labels, after all regions: uint8 of shape (channels, *`file_shape`), on the CPU."""
        assert self._found is not None
        return self._grid.move(self._found) if self._only_moved else self._found

    def _resample(self, region: Region, outputs: torch.Tensor) -> None:
        """Decide the voxels of the file in a region, and those between it and the one before."""
        if self._found is None:  # of an image that lies beside the file, nothing follows
            one = self._decide(outputs[None, :, *[slice(0, 1)] * (outputs.ndim - 1)])[0]
            self._found = torch.zeros((len(one), *self._grid.file_shape), dtype=one.dtype)
        cuts = [a for a, part in enumerate(region) if part.stop - part.start < self._sides[a]]
        axis = cuts[0] if cuts else 0
        low, high = region[axis].start, region[axis].stop
        thick = high - low
        if self._edge is not None:  # a position between two slices needs both
            pair = torch.cat([self._edge, outputs.narrow(axis + 1, 0, 1)], axis + 1)
            self._decide_part(pair, axis, low - 1, (low - 1, low))
        ends = high == self._sides[axis]
        most = high if ends else high - 1  # beyond the end there are positions up to half a voxel
        self._decide_part(outputs, axis, low, (low if low else -1, most))
        self._edge = None if ends else outputs.narrow(axis + 1, thick - 1, 1).clone()

    def _decide_part(
        self, outputs: torch.Tensor, axis: int, start: int, limits: tuple[int, int]
    ) -> None:
        """Decide the voxels of the file whose position along an axis is within limits.

        Args:
            outputs: Of slices of the image from `start` on.
            axis: Along which they are slices.
            start: Where they begin.
            limits: From, and below which position.
        """
        for part in self._chunks(axis, limits):
            places, inside = self._places(part, axis, limits, outputs.device)
            places[axis] = places[axis] - start
            scaled = [
                place * (2 / max(side - 1, 1)) - 1
                for place, side in zip(places, outputs.shape[1:], strict=True)
            ]
            sides = [some.stop - some.start for some in part]
            grid = torch.stack([place.expand(sides) for place in reversed(scaled)], -1)
            sampled = grid_sample(
                outputs[None].float(),
                grid[None],  # it has the last axis first
                mode="bilinear",
                padding_mode="border",
                align_corners=True,
            )
            labels = self._decide(sampled)[0]
            assert self._found is not None
            self._found[:, *part] += (labels * inside.to(labels.dtype)).cpu()

    def _chunks(self, axis: int, limits: tuple[int, int]) -> Iterator[Region]:
        """Parts of the file that hold all voxels within limits, of few positions each."""
        linear, shift = self._map
        shape = self._grid.file_shape
        row = linear[axis]
        along = int(np.abs(row).argmax())
        others = [row[a] * (side - 1) for a, side in enumerate(shape) if a != along]
        least = limits[0] - shift[axis] - sum(max(0.0, other) for other in others)
        most = limits[1] - shift[axis] - sum(min(0.0, other) for other in others)
        ends = sorted((least / row[along], most / row[along]))
        first = max(0, math.floor(ends[0]) - 1)
        last = min(shape[along], math.ceil(ends[1]) + 2)
        thick = max(1, POSITIONS * shape[along] // max(1, math.prod(shape)))
        for begin in range(first, last, thick):
            yield [
                slice(begin, min(begin + thick, last)) if a == along else slice(0, side)
                for a, side in enumerate(shape)
            ]

    def _places(
        self, part: Region, axis: int, limits: tuple[int, int], device: torch.device
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Where voxels of the file lie in the image: an axis each, and whether it is within.

        They are added up term by term, so that a voxel's position is the same in each part.
        """
        linear, shift = self._map
        dims = len(part)
        places = []
        for row, begin in zip(linear, shift, strict=True):
            place = torch.full((1,) * dims, float(begin), device=device)
            for a, (step, some) in enumerate(zip(row, part, strict=True)):
                if step:
                    count = torch.arange(some.start, some.stop, device=device).float()
                    of_axis = [-1 if a == b else 1 for b in range(dims)]
                    place = place + (count * float(step)).reshape(of_axis)
            places.append(place)
        inside = torch.ones((1,) * dims, dtype=torch.bool, device=device)
        for place, side in zip(places, self._sides, strict=True):
            inside = inside & (place >= -0.5) & (place <= side - 0.5)
        inside = inside & (places[axis] >= limits[0]) & (places[axis] < limits[1])
        return places, inside
