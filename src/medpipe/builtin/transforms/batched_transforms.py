"""Batched versions of MONAI's transforms that give the same values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.builtin.transforms.batched.deterministic import (
    BatchedNormalizeIntensity,
    BatchedRepeatChannel,
    BatchedShiftIntensity,
)
from medpipe.builtin.transforms.batched.flips import (
    BatchedFlip,
    BatchedRandAxisFlip,
    BatchedRandFlip,
    BatchedRandRotate90,
    BatchedRotate90,
)
from medpipe.builtin.transforms.batched.intensity import (
    BatchedRandAdjustContrast,
    BatchedRandGaussianNoise,
    BatchedRandScaleIntensity,
    BatchedRandShiftIntensity,
)
from medpipe.builtin.transforms.batched.resolution import (
    BatchedRandGaussianSmooth,
    BatchedRandSimulateLowResolution,
)
from medpipe.builtin.transforms.batched.rotation import (
    BatchedRandAffine,
    BatchedRandRotate,
)
from medpipe.builtin.transforms.batched.zoom import BatchedRandZoom
from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BatchedScaleIntensity(TransformStep):
    """MONAI's `ScaleIntensity` on a batch: each image by its own minimum and maximum."""

    accepts_integer_images: ClassVar[bool] = True
    minv: float
    maxv: float
    channel_wise: bool

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Scale the images; the operations are those of MONAI's `rescale_array`, in its order.

        Operations that change no bit are skipped, and uint8 is used where differences are exact.
        """
        import torch

        images = batch["image"]
        if images.dtype != torch.uint8:
            images = images.float()
        inner = tuple(range(2 if self.channel_wise else 1, images.ndim))
        low = images.amin(dim=inner, keepdim=True)
        high = images.amax(dim=inner, keepdim=True)
        scaled = (images - low).float().div_((high - low).float())
        width = self.maxv - self.minv
        if width != 1:
            scaled.mul_(width)
        if self.minv != 0 or width < 0:  # a negative width gives negative zeros
            scaled.add_(self.minv)
        # MONAI multiplies a constant image by minv.
        constant = low == high
        if images.is_cuda:  # constant.any() would wait for the device
            scaled = torch.where(constant, images.float() * self.minv, scaled)
        elif constant.any():
            alone = constant.flatten(2 if self.channel_wise else 1).squeeze(-1)
            scaled[alone] = images[alone].float() * self.minv
        return {**batch, "image": scaled}


class BatchedToTensor(TransformStep):
    """MONAI's `ToTensor` on a batch, whose images are tensors already."""

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Return the batch unchanged."""
        return batch


class BatchedScaleIntensityRange(TransformStep):
    """MONAI's `ScaleIntensityRange` on a batch."""

    accepts_integer_images: ClassVar[bool] = True
    a_min: float
    a_max: float
    b_min: float | None
    b_max: float | None
    clip: bool

    @property
    def batched(self) -> bool:
        """False where `a_min` equals `a_max`, of which MONAI warns."""
        return self.a_max != self.a_min

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Map the images onto the range, by MONAI's operations in their order."""
        given = batch["image"]
        # MONAI converts the result to float32, not its input.
        whole = not given.is_floating_point()
        images = given.float().sub_(self.a_min) if whole else given.sub(self.a_min)
        images.div_(self.a_max - self.a_min)
        if self.b_min is not None and self.b_max is not None:
            images.mul_(self.b_max - self.b_min).add_(self.b_min)
        if self.clip:
            images.clamp_(self.b_min, self.b_max)
        return {**batch, "image": images.float()}


BATCHED: Mapping[str, type[TransformStep]] = {
    "flip": BatchedFlip,
    "normalize_intensity": BatchedNormalizeIntensity,
    "rand_adjust_contrast": BatchedRandAdjustContrast,
    "rand_affine": BatchedRandAffine,
    "rand_axis_flip": BatchedRandAxisFlip,
    "rand_flip": BatchedRandFlip,
    "rand_gaussian_noise": BatchedRandGaussianNoise,
    "rand_gaussian_smooth": BatchedRandGaussianSmooth,
    "rand_rotate": BatchedRandRotate,
    "rand_rotate90": BatchedRandRotate90,
    "rand_scale_intensity": BatchedRandScaleIntensity,
    "rand_simulate_low_resolution": BatchedRandSimulateLowResolution,
    "rand_shift_intensity": BatchedRandShiftIntensity,
    "rand_zoom": BatchedRandZoom,
    "repeat_channel": BatchedRepeatChannel,
    "rotate90": BatchedRotate90,
    "scale_intensity": BatchedScaleIntensity,
    "scale_intensity_range": BatchedScaleIntensityRange,
    "shift_intensity": BatchedShiftIntensity,
    "to_tensor": BatchedToTensor,
}
"""The batched versions of steps of the table, by name."""
