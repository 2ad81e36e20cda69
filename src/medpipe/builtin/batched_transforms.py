"""Steps over MONAI's transforms that can also be applied to whole batches, value for value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BatchedScaleIntensity(TransformStep):
    """MONAI's `ScaleIntensity` on a batch: each image by its own least and largest value."""

    minv: float
    maxv: float
    channel_wise: bool

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Scale the images; the operations are those of MONAI's `rescale_array`, in its order."""
        import torch

        images = batch["image"]
        inner = tuple(range(2 if self.channel_wise else 1, images.ndim))
        low = images.amin(dim=inner, keepdim=True)
        span = images.amax(dim=inner, keepdim=True).sub_(low)
        scaled = images.sub(low).div_(span)
        scaled.mul_(self.maxv - self.minv).add_(self.minv)
        # Where all values are the same MONAI takes them times the least.
        return {**batch, "image": torch.where(span == 0, images * self.minv, scaled)}


class BatchedToTensor(TransformStep):
    """MONAI's `ToTensor` on a batch, whose images are tensors already."""

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Give the batch as it is."""
        return batch


class BatchedScaleIntensityRange(TransformStep):
    """MONAI's `ScaleIntensityRange` on a batch."""

    a_min: float
    a_max: float
    b_min: float | None
    b_max: float | None
    clip: bool

    @property
    def batched(self) -> bool:
        """Not where MONAI warns of a range without width."""
        return self.a_max != self.a_min

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Map the images onto the range, by MONAI's operations in their order."""
        images = batch["image"].sub(self.a_min).div_(self.a_max - self.a_min)
        if self.b_min is not None and self.b_max is not None:
            images.mul_(self.b_max - self.b_min).add_(self.b_min)
        if self.clip:
            images.clamp_(self.b_min, self.b_max)
        return {**batch, "image": images}


BATCHED: Mapping[str, type[TransformStep]] = {
    "scale_intensity": BatchedScaleIntensity,
    "scale_intensity_range": BatchedScaleIntensityRange,
    "to_tensor": BatchedToTensor,
}
"""The form for batches of the steps of the table that have one, by their names."""
