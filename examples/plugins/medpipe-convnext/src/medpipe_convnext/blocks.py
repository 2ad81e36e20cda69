"""The parts of a ConvNeXt (Liu et al., 2022, arXiv:2201.03545), for images and volumes.

It imports torch, and is imported when a network is built.
"""

from __future__ import annotations

import torch
from torch import nn

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize images (batch, channels, spatial...)."""
        last = images.movedim(1, -1)
        normal = nn.functional.layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6)
        return normal.movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then two of 1 x 1 with four times the channels between them.

    The result is scaled by a number for each channel and added to the input; in training it is
    left out for some samples (stochastic depth, Huang et al., 2016, arXiv:1603.09382).

    Args:
        channels: Of the input and the output.
        dims: 2 for images, 3 for volumes.
        kernel: The side of the depthwise convolution.
        scale: The channels' first scale.
        drop: The probability that a sample skips the block.
    """

    def __init__(self, channels: int, *, dims: int, kernel: int, scale: float, drop: float) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dims]
        self.depthwise = convolution(
            channels, channels, kernel, padding=kernel // 2, groups=channels
        )
        self.norm = ChannelNorm(channels)
        self.widen = convolution(channels, 4 * channels, 1)
        self.narrow = convolution(4 * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, *(1,) * dims), scale))
        self.drop = drop

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Change images (batch, channels, spatial...)."""
        inner = self.widen(self.norm(self.depthwise(images)))
        change: torch.Tensor = self.scale * self.narrow(nn.functional.gelu(inner))
        if self.training and self.drop:
            shape = (len(images), *(1,) * (images.ndim - 1))
            kept = torch.rand(shape, device=images.device, dtype=images.dtype) >= self.drop
            change = change * kept / (1 - self.drop)
        return images + change


def smaller(channels: int, width: int, *, dims: int, factor: int) -> nn.Module:
    """A convolution that divides the sides by a factor."""
    return CONVOLUTIONS[dims](channels, width, factor, stride=factor)
