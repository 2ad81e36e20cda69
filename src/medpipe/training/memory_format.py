"""In which order the values of images and weights lie in memory: channels last where it pays.

2-D convolutions are faster so, on processors and GPUs alike; 3-D ones were measured not to be.
Values and shapes are the same. Imports torch inside functions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch


def has_2d_convolutions(network: torch.nn.Module) -> bool:
    """Whether there is a 2-D convolution among a network's modules."""
    from torch import nn

    return any(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in network.modules())


def is_channels_last(network: torch.nn.Module) -> bool:
    """Whether a network's convolutions were put in channels last."""
    import torch

    weights = [p for p in network.parameters() if p.ndim == 4]
    # A weight of a single channel or pixel is in both orders at once and says nothing.
    return bool(weights) and all(
        weight.is_contiguous(memory_format=torch.channels_last) for weight in weights
    )


@contextmanager
def in_channels_last(
    network: torch.nn.Module,
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Give a function that runs a network in channels last, which it need not be in.

    A network that can't, such as one that takes a ``view`` of what a convolution gives, is run
    as it is from the first batch on. After the block its weights lie as they did before.

    Args:
        network: The network, in evaluation mode: the first batch may go through it twice.
    """
    import torch

    if not has_2d_convolutions(network):
        yield network
        return
    moved = not is_channels_last(network)
    if moved:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tried = not moved

    def run(image: torch.Tensor) -> torch.Tensor:
        nonlocal moved, tried
        if not moved and tried and not is_channels_last(network):
            plain: torch.Tensor = network(image)
            return plain
        laid = image.contiguous(memory_format=torch.channels_last) if image.ndim == 4 else image
        try:
            output: torch.Tensor = network(laid)
        except RuntimeError:
            if tried:
                raise
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            moved, tried = False, True
            return run(image)
        tried = True
        return output

    try:
        yield run
    finally:
        if moved:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
