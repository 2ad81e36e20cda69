"""Random zooms of batches, bit for bit as MONAI's; images zoomed to one size go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.builtin.transforms.batched.drawing import uniform
from medpipe.plugin import DrawnStep, on_device

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    import torch

# The padding modes that copy rows of the image, with NumPy's names for them.
_COPIES = {
    "edge": "edge",
    "replicate": "edge",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "wrap": "wrap",
    "circular": "wrap",
}


def nearest_for(mode: str, align_corners: bool | None) -> str:
    """The mode of torch's `interpolate` for labels of images that are resampled with a mode.

    `interpolate` has ``nearest-exact`` for the nearest pixel by their centres, where the others
    leave a structure. Its ``nearest`` gives what lies up to one pixel before, and so is for labels
    of images that are resampled with it alone.

    Raises:
        ValueError: The corners of images are aligned, which `interpolate` can't do for labels.
    """
    if align_corners:
        raise ValueError(
            "align_corners = true would move images beside their masks, by up to half a pixel. "
            "Leave it out."
        )
    return "nearest" if mode == "nearest" else "nearest-exact"


class BatchedRandZoom(DrawnStep):
    """MONAI's `RandZoom` on a batch."""

    min_zoom: float | tuple[float, ...]
    max_zoom: float | tuple[float, ...]
    mode: str
    padding_mode: str
    align_corners: bool | None
    keep_size: bool

    @property
    def batched(self) -> bool:
        """False where each image gets its own size, or the padding is computed from the image."""
        return self.keep_size and (self.padding_mode == "constant" or self.padding_mode in _COPIES)

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the zoom factors, one for all axes or one for each."""
        low, high = (
            (zoom,) if isinstance(zoom, (int, float)) else zoom
            for zoom in (self.min_zoom, self.max_zoom)
        )
        return {"zoom": [uniform(rng, *ends) for ends in zip(low, high, strict=True)]}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The size that an image is zoomed to."""
        if not draw:
            return None
        zoom = draw["zoom"]
        if len(zoom) == 1:
            zoom = zoom * len(sides)
        elif len(zoom) == 2 and len(sides) == 3:
            zoom = [zoom[0], *zoom]
        if len(zoom) != len(sides):
            raise ValueError(f"min_zoom and max_zoom have {len(zoom)} numbers for {len(sides)}-D")
        return tuple(
            int(float(side) * factor // 1) for side, factor in zip(sides, zoom, strict=True)
        )

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Zoom the images, and crop or pad them to their former size."""
        from torch.nn.functional import interpolate, pad

        sides = images.shape[2:]
        size: Any = self.group(draws[0], sides)
        mode = self.mode
        if mode.endswith("linear"):
            mode = "trilinear" if len(sides) == 3 else "bilinear"
        zoomed = interpolate(images, size=size, mode=mode, align_corners=self.align_corners)
        widths = []
        for axis, (side, new) in enumerate(zip(sides, size, strict=True), 2):
            if new > side:
                zoomed = zoomed.narrow(axis, new // 2 - side // 2, side)
            missing = max(side - new, 0)
            widths.append((missing // 2, missing - missing // 2))
        if self.padding_mode in {"constant", "edge", "replicate"}:
            # torch's pad starts with the last axis.
            flat = [width for ends in reversed(widths) for width in ends]
            kind = "constant" if self.padding_mode == "constant" else "replicate"
            return pad(zoomed, flat, mode=kind)
        for axis, ends in enumerate(widths, 2):
            zoomed = _filled(zoomed, axis, ends, _COPIES[self.padding_mode])
        return zoomed

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Zoom the labels by nearest neighbour."""
        step: Any = self
        nearest = attrs.evolve(
            step, mode=nearest_for(self.mode, self.align_corners), align_corners=None
        )
        return nearest.changed(labels, draws)  # type: ignore[no-any-return]


def _filled(images: torch.Tensor, axis: int, ends: tuple[int, int], mode: str) -> torch.Tensor:
    """Pad both ends of an axis with copies of rows, by NumPy's mode."""
    import numpy as np
    import torch

    if not any(ends):
        return images
    rows = np.pad(np.arange(images.shape[axis]), ends, mode=mode)  # type: ignore[call-overload]
    return images.index_select(axis, on_device(torch.from_numpy(rows), images))
