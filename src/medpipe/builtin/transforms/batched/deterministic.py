"""Deterministic steps that often follow random ones, with the same values as MONAI's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from medpipe.builtin.transforms.metadata import with_metadata_of
from medpipe.plugin import TransformStep, on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch


class BatchedNormalizeIntensity(TransformStep):
    """MONAI's `NormalizeIntensity` on a batch, with a given mean and deviation."""

    subtrahend: float | tuple[float, ...] | None
    divisor: float | tuple[float, ...] | None
    nonzero: bool
    channel_wise: bool

    @property
    def batched(self) -> bool:
        """True for given numbers only: a batch's sums are rounded in another way than MONAI's."""
        kinds = tuple if self.channel_wise else (int, float)
        given = isinstance(self.subtrahend, kinds) and isinstance(self.divisor, kinds)
        return given and not self.nonzero

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Return the function for a sample's ``image``.

        By the image's own mean and deviation it takes half of MONAI's time for loaded images:
        each operation on a MetaTensor copies its metadata.
        """
        theirs = super().build()
        given = self.subtrahend is not None or self.divisor is not None
        if given or self.nonzero or self.channel_wise:
            return theirs
        return partial(_standardised, theirs=theirs)

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Subtract and divide."""
        images = batch["image"].float()
        subtrahend = _channels("subtrahend", self.subtrahend, images)
        divisor = _channels("divisor", self.divisor, images)
        divisor = divisor.masked_fill(divisor == 0, 1)  # as MONAI does
        return {**batch, "image": images.sub(subtrahend).div_(divisor)}


class BatchedShiftIntensity(TransformStep):
    """MONAI's `ShiftIntensity` on a batch."""

    offset: float
    safe: bool

    @property
    def batched(self) -> bool:
        """False where integers must be clipped to their type's range."""
        return not self.safe

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Add the number; the images keep their data type."""
        images = batch["image"]
        return {**batch, "image": (images + self.offset).to(images.dtype)}


class BatchedRepeatChannel(TransformStep):
    """MONAI's `RepeatChannel` on a batch."""

    repeats: int

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Repeat the channels."""
        return {**batch, "image": batch["image"].repeat_interleave(self.repeats, dim=1)}


def _standardised(
    sample: dict[str, Any], *, theirs: Callable[[dict[str, Any]], Mapping[Any, Any]]
) -> Mapping[Any, Any]:
    """Give an image the mean 0 and the deviation 1, by MONAI's operations."""
    import torch
    from monai.data import MetaTensor

    image = sample["image"]
    if not isinstance(image, MetaTensor) or image.dtype != torch.float32:
        return theirs(sample)
    plain = image.as_subclass(torch.Tensor)
    mean, deviation = plain.mean().item(), plain.std(unbiased=False).item()
    return {**sample, "image": with_metadata_of(image, (plain - mean) / (deviation or 1.0))}


def _channels(called: str, numbers: Any, images: torch.Tensor) -> torch.Tensor:
    """Numbers for each channel, or one for all, in the images' data type and on their device."""
    import torch

    if isinstance(numbers, tuple) and len(numbers) != images.shape[1]:
        raise ValueError(
            f"the images have {images.shape[1]} channels, but {called} has {len(numbers)} numbers"
        )
    shape = (-1,) + (1,) * (images.ndim - 2)
    return on_device(torch.tensor(numbers, dtype=images.dtype).reshape(shape), images)
