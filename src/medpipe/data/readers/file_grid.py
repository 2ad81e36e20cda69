"""Where an image lies, and the way from the grid of a chain's result back to that of its file.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
POSITIONS = 1 << 22
"""How many positions are resampled at a time."""


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
        if self.only_moved:
            return self.move(decide(outputs[None])[0])
        linear, shift = self._map()
        return _resampled(outputs, linear, shift, self.file_shape, decide)

    @property
    def only_moved(self) -> bool:
        """Whether the chain only turned, cropped and padded."""
        linear, shift = self._map()
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
        linear, shift = self._map()
        return _moved(labels.cpu(), np.round(linear), np.round(shift), self.file_shape)

    def _map(self) -> tuple[Array, Array]:
        """From voxels of the file to those of the chain's result."""
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


def _resampled(
    outputs: torch.Tensor, linear: Array, shift: Array, shape: Sequence[int], decide: Decide
) -> torch.Tensor:
    """Decide labels at the positions of any affine map, slab by slab along the first axis."""
    dims, sides = len(shape), outputs.shape[1:]
    device = outputs.device
    each = int(np.prod(shape[1:]))
    thick = max(1, POSITIONS // max(1, each))
    matrix = torch.from_numpy(linear).float().to(device)
    start = torch.from_numpy(shift).float().to(device)
    slabs = []
    for first in range(0, shape[0], thick):
        last = min(first + thick, shape[0])
        ranges = [torch.arange(first, last), *(torch.arange(side) for side in shape[1:])]
        grid = torch.stack(torch.meshgrid(*ranges, indexing="ij"), -1).float().to(device)
        places = grid @ matrix.T + start
        limits = torch.tensor([side - 1 for side in sides], device=device).float()
        inside = ((places >= -0.5) & (places <= limits + 0.5)).all(-1)
        scaled = places * 2 / limits.clamp(min=1) - 1
        sampled = grid_sample(
            outputs[None].float(),
            scaled.flip(-1)[None],  # grid_sample has the last axis first
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        labels = decide(sampled)[0]
        slabs.append((labels * inside.to(labels.dtype)).cpu())
    assert dims == slabs[0].ndim - 1
    return torch.cat(slabs, 1)
