"""How much memory a training step takes, from shapes alone.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch


@attrs.frozen(kw_only=True)
class MemoryEstimate:
    """The bytes of a training step.

    Attributes:
        parameters: Parameters, their gradients and two moments for each, as Adam keeps them.
        activations: What the forward pass keeps for the backward pass.
        batch: The images of a batch.
    """

    parameters: int
    activations: int
    batch: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.activations + self.batch


def forward_on_meta(network: torch.nn.Module, shape: tuple[int, ...]) -> tuple[Any, MemoryEstimate]:
    """Send a batch without data through a network without data.

    Args:
        network: The network on the meta device, in training mode.
        shape: Of the batch: (batch, channels, spatial...).

    Returns:
        What the network gave, and the estimate.
    """
    kept: dict[int, torch.Tensor] = {}
    parameters = {id(parameter) for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in parameters:
            kept[id(tensor)] = tensor
        return tensor

    image = torch.empty(shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(image)
    size = sum(_bytes(parameter) for parameter in network.parameters())
    trained = sum(_bytes(p) for p in network.parameters() if p.requires_grad)
    estimate = MemoryEstimate(
        parameters=size + 3 * trained,
        activations=sum(_bytes(tensor) for tensor in kept.values()),
        batch=_bytes(image),
    )
    return output, estimate


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
