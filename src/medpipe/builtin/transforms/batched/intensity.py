"""Random intensity transforms of batches, as MONAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.builtin.transforms.batched.drawing import both_ways, uniform
from medpipe.plugin import DrawnStep, on_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

Range = float | tuple[float, float]


class BatchedRandGaussianNoise(DrawnStep):
    """MONAI's `RandGaussianNoise` on a batch."""

    mean: float
    std: float
    sample_std: bool

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the standard deviation, and a seed for the noise: only the image tells its shape."""
        std = uniform(rng, 0, self.std) if self.sample_std else self.std
        return {"std": std, "seed": int(rng.integers(2**63))}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Add noise; it is drawn on the CPU, so that every device gets the same."""
        import torch

        noise = torch.empty(images.shape)
        generator = torch.Generator()
        for one, draw in zip(noise, draws, strict=True):
            one.normal_(self.mean, draw["std"], generator=generator.manual_seed(draw["seed"]))
        return images + on_device(noise, images)


class _Factors(DrawnStep):
    """A step that draws a number for each image, or for each of its channels."""

    channel_wise: bool

    def _values(self, rng: np.random.Generator, ends: tuple[float, float]) -> Mapping[str, Any]:
        if self.channel_wise:  # only the image tells the number of channels
            return {"seed": int(rng.integers(2**63))}
        return {"by": uniform(rng, *ends)}

    def _factors(
        self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]], ends: tuple[float, float]
    ) -> Sequence[Sequence[float]]:
        import numpy as np

        if not self.channel_wise:
            return [[draw["by"]] for draw in draws]
        generators = [np.random.default_rng(draw["seed"]) for draw in draws]
        return [[uniform(rng, *ends) for _ in range(images.shape[1])] for rng in generators]


class BatchedRandShiftIntensity(_Factors):
    """MONAI's `RandShiftIntensity` on a batch."""

    gives_float: ClassVar[bool] = False
    offsets: Range
    safe: bool

    @property
    def batched(self) -> bool:
        """False where integers must be clipped to their type's range."""
        return not self.safe

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the offset, or a seed for those of the channels."""
        return self._values(rng, both_ways(self.offsets))

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Add the offsets; the images keep their data type."""
        wide = images if images.is_floating_point() else images.float()
        by = _per_channel(self._factors(images, draws, both_ways(self.offsets)), wide)
        return (wide + by).to(images.dtype)


class BatchedRandScaleIntensity(_Factors):
    """MONAI's `RandScaleIntensity` on a batch."""

    factors: Range

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the factor minus 1, or a seed for those of the channels."""
        return self._values(rng, both_ways(self.factors))

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Multiply by the factors."""
        drawn = self._factors(images, draws, both_ways(self.factors))
        return images * _per_channel([[1 + by for by in some] for some in drawn], images)


def _per_channel(numbers: Sequence[Sequence[float]], images: torch.Tensor) -> torch.Tensor:
    """Numbers of shape (batch, channels or 1), to broadcast to the images in their data type."""
    import torch

    found = torch.tensor(numbers, dtype=images.dtype)
    return on_device(found.reshape(*found.shape, *(1,) * (images.ndim - 2)), images)


class BatchedRandAdjustContrast(DrawnStep):
    """MONAI's `RandAdjustContrast` on a batch."""

    gamma: Range
    invert_image: bool
    retain_stats: bool

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the exponent."""
        gamma = self.gamma
        low, high = (0.5, gamma) if isinstance(gamma, (int, float)) else gamma
        return {"gamma": uniform(rng, low, high)}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Apply the gamma curve between minimum and maximum, by MONAI's operations."""
        given = -images if self.invert_image else images
        inner = tuple(range(1, images.ndim))
        low = given.amin(dim=inner, keepdim=True)
        span = given.amax(dim=inner, keepdim=True) - low
        gamma = _per_channel([[draw["gamma"]] for draw in draws], images)
        bent = ((given - low) / (span + 1e-7)) ** gamma * span + low
        if self.retain_stats:
            bent = bent - _of_each(bent, "mean")
            bent = bent / (_of_each(bent, "std") + 1e-8)
            bent = _of_each(given, "std") * bent + _of_each(given, "mean")
        return -bent if self.invert_image else bent


def _of_each(images: torch.Tensor, statistic: str) -> torch.Tensor:
    """The mean or standard deviation of each image, computed one by one for equal rounding."""
    import torch

    found = torch.stack([getattr(image, statistic)() for image in images])
    return found.reshape(-1, *(1,) * (images.ndim - 1))
