"""The transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import and_, deep_iterable, ge, in_, le, min_len

from medpipe.plugin import DrawnStep, on_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch


@attrs.frozen(kw_only=True)
class RandConv(DrawnStep):
    """Mixes an image with a random convolution of it (Xu et al., 2021, arXiv:2007.13003).

    Each image gets weights of its own, from a normal distribution of variance
    1 / (channels * kernel ** axes): texture and contrast change, shapes stay. Borders are padded
    by 0.

    Attributes:
        prob: Probability that an image is changed.
        kernels: The sides of the convolutions, of which each image gets one; odd.
        least: The smallest share of the convolution in the mixture, which is drawn from there to 1.
    """

    name: ClassVar[str] = "randconv"
    prob: float = attrs.field(default=0.5, validator=[ge(0), le(1)])
    kernels: tuple[int, ...] = attrs.field(
        default=(1, 3, 5, 7),
        validator=[min_len(1), deep_iterable(and_(ge(1), in_(range(1, 32, 2))))],
    )
    least: float = attrs.field(default=0.0, validator=[ge(0), le(1)])

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the kernel's side, the share and a seed for the weights."""
        return {
            "kernel": self.kernels[rng.integers(len(self.kernels))],
            "share": rng.uniform(self.least, 1),
            "seed": int(rng.integers(2**63)),
        }

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Change images (batch, channels, spatial...) by one convolution in groups."""
        import torch

        count, channels, *sides = images.shape
        largest = max(draw["kernel"] for draw in draws)
        weights = torch.zeros(count, channels, channels, *(largest,) * len(sides))
        for place, draw in enumerate(draws):
            start = (largest - draw["kernel"]) // 2  # a smaller kernel lies in the middle
            inner: Any = (..., *(slice(start, start + draw["kernel"]),) * len(sides))
            weights[place][inner] = _weights(draw, channels, len(sides))
        convolution = {2: torch.conv2d, 3: torch.conv3d}[len(sides)]
        mixed = convolution(
            images.reshape(1, count * channels, *sides),
            on_device(weights.flatten(0, 1), images),
            padding=largest // 2,
            groups=count,
        ).reshape(images.shape)
        shares = torch.tensor([draw["share"] for draw in draws], dtype=images.dtype)
        return torch.lerp(
            images, mixed, on_device(shares, images).reshape(-1, *(1,) * (images.ndim - 1))
        )


def _weights(draw: Mapping[str, Any], channels: int, axes: int) -> torch.Tensor:
    """Weights (channels, channels, sides...) from the seed that was drawn."""
    import torch

    generator = torch.Generator().manual_seed(draw["seed"])
    shape = (channels, channels, *(draw["kernel"],) * axes)
    spread: float = (channels * draw["kernel"] ** axes) ** -0.5
    return spread * torch.randn(shape, generator=generator)
