"""Memory format of images and weights: channels last where it is faster.

2-D convolutions are faster so, on CPUs and GPUs alike. 3-D networks are evaluated faster so
on a CPU; to train them was faster for some and slower for others, and GPUs were not measured.
Values and shapes are the same. Imports torch inside functions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch


@attrs.frozen
class _Order:
    """An order with channels last.

    Attributes:
        ndim: The dimensions of what can lie in it: images with batch and channels, and weights.
        format: Torch's name for it.
    """

    ndim: int
    format: torch.memory_format

    def holds(self, network: torch.nn.Module) -> bool:
        """Whether a network's convolutions lie in it."""
        weights = [p for p in network.parameters() if p.ndim == self.ndim]
        # A weight of a single channel or pixel is in both orders at once and says nothing.
        return bool(weights) and all(
            weight.is_contiguous(memory_format=self.format) for weight in weights
        )

    def lay(self, network: torch.nn.Module, memory_format: torch.memory_format) -> None:
        """Put what has as many dimensions into a memory format, where it is.

        A network's own ``to`` takes tensors of 4 and of 5 dimensions alike, and fails where a
        network of volumes has a scale for each channel, of shape (channels, 1, 1, 1).
        """
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.ndim == self.ndim:
                tensor.data = tensor.data.to(tensor.device, memory_format=memory_format)


def is_channels_last(network: torch.nn.Module) -> bool:
    """Whether a network's 2-D convolutions were put in channels last."""
    import torch

    return _Order(4, torch.channels_last).holds(network)


def _order_of(network: torch.nn.Module) -> _Order | None:
    """The order in which a network is evaluated faster than as it is; None where there is none."""
    import torch
    from torch import nn

    modules = list(network.modules())
    if any(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in modules):
        return _Order(4, torch.channels_last)
    volumes = [m for m in modules if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d))]
    if volumes and all(module.weight.device.type == "cpu" for module in volumes):
        return _Order(5, torch.channels_last_3d)
    return None


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

    order = _order_of(network)
    if order is None:
        yield network
        return
    moved = not order.holds(network)
    if moved:
        order.lay(network, order.format)
    tried = not moved

    def run(image: torch.Tensor) -> torch.Tensor:
        nonlocal moved, tried
        if not moved and tried and not order.holds(network):
            plain: torch.Tensor = network(image)
            return plain
        fits = image.ndim == order.ndim
        laid = image.contiguous(memory_format=order.format) if fits else image
        try:
            output: torch.Tensor = network(laid)
        except RuntimeError:
            if tried:
                raise
            order.lay(network, torch.contiguous_format)
            moved, tried = False, True
            return run(image)
        tried = True
        return output

    try:
        yield run
    finally:
        if moved:
            order.lay(network, torch.contiguous_format)
