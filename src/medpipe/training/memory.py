"""Estimate the memory of a training step from shapes alone.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen(kw_only=True)
class MemoryEstimate:
    """The bytes of a training step.

    Attributes:
        parameters: Parameters, their gradients and two moments for each, as Adam keeps them.
        activations: What the forward pass keeps for the backward pass, and what of it is computed
            again at a time.
        batch: The images of a batch.
    """

    parameters: int
    activations: int
    batch: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.activations + self.batch


def forward_on_meta(
    network: torch.nn.Module,
    shape: tuple[int, ...],
    recomputed: Sequence[torch.nn.Module] = (),
) -> tuple[Any, MemoryEstimate]:
    """Send a batch without data through a network without data.

    Args:
        network: The network on the meta device, in training mode.
        shape: Of the batch: (batch, channels, spatial...).
        recomputed: The modules whose activations are computed again, one module after the other.

    Returns:
        What the network gave, and the estimate.
    """
    kept: dict[torch.nn.Module | None, dict[int, torch.Tensor]] = defaultdict(dict)
    inside: torch.nn.Module | None = None
    parameters = {id(parameter) for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in parameters:
            kept[inside][id(tensor)] = tensor
        return tensor

    def enter(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal inside
        for value in inputs:
            if isinstance(value, torch.Tensor):
                keep(value)
        inside = module

    def leave(*_: Any) -> None:
        nonlocal inside
        inside = None

    image = torch.empty(shape, device="meta")
    with ExitStack() as hooks:
        hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        for module in recomputed:
            hooks.callback(module.register_forward_pre_hook(enter).remove)
            hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
        output = network(image)
    size = sum(_bytes(parameter) for parameter in network.parameters())
    trained = sum(_bytes(p) for p in network.parameters() if p.requires_grad)
    sizes = {module: sum(map(_bytes, tensors.values())) for module, tensors in kept.items()}
    estimate = MemoryEstimate(
        parameters=size + 3 * trained,
        activations=sizes.pop(None, 0) + max(sizes.values(), default=0),
        batch=_bytes(image),
    )
    return output, estimate


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
