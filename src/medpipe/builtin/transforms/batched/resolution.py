"""Random blur and low resolution of batches, as MONAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.builtin.transforms.batched.drawing import uniform
from medpipe.plugin import DrawnStep

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    import torch

_CORNERS = {"linear", "bilinear", "bicubic", "trilinear"}
"""Modes of interpolation that know aligned corners."""


class BatchedRandGaussianSmooth(DrawnStep):
    """MONAI's `RandGaussianSmooth` on a batch."""

    sigma_x: tuple[float, float]
    sigma_y: tuple[float, float]
    sigma_z: tuple[float, float]
    approx: str

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the widths along the axes, in pixels; in 2-D the third is not used."""
        return {
            "sigma": [uniform(rng, *ends) for ends in (self.sigma_x, self.sigma_y, self.sigma_z)]
        }

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Smooth each image by its own widths."""
        import torch
        from monai.networks.layers import GaussianFilter

        axes = images.ndim - 2
        smooth = [
            GaussianFilter(axes, draw["sigma"][:axes], approx=self.approx).to(images.device)(image)
            for image, draw in zip(torch.split(images, 1), draws, strict=True)
        ]
        return torch.cat(smooth)


class BatchedRandSimulateLowResolution(DrawnStep):
    """MONAI's `RandSimulateLowResolution` on a batch."""

    downsample_mode: str
    upsample_mode: str
    zoom_range: tuple[float, float]
    align_corners: bool | None

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the factor of the resolution."""
        return {"zoom": uniform(rng, *self.zoom_range)}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The size that an image is brought to."""
        if not draw:
            return None
        return tuple(max(1, round(side * draw["zoom"])) for side in sides)

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Downsample the images, and upsample them to their former size."""
        small: Any = self.group(draws[0], images.shape[2:])
        images_small = self._resized(images, small, self.downsample_mode)
        return self._resized(images_small, images.shape[2:], self.upsample_mode)

    def _resized(self, images: torch.Tensor, size: Sequence[int], mode: str) -> torch.Tensor:
        from torch.nn.functional import interpolate

        if mode.endswith("linear"):
            mode = "trilinear" if len(size) == 3 else "bilinear"
        corners = self.align_corners if mode in _CORNERS else None
        return interpolate(images, size=tuple(size), mode=mode, align_corners=corners)
