"""The head of a regression: targets are normalised inside, and answers are in units.

A fresh network's outputs are near 0 with a spread near 1. Targets such as an age in years are
not, and a small learning rate would spend its epochs on reaching their mean.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from medpipe.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

MEAN = "target_mean"
SPREAD = "target_spread"
BUFFERS = (MEAN, SPREAD)
"""The names of the two buffers, as they are in a state dictionary."""


def give_units(network: nn.Module, means: Sequence[float], spreads: Sequence[float]) -> nn.Module:
    """Make a network for a regression give its values in the targets' unit.

    What the network computes is taken as standard deviations of the training targets around
    their mean. The module stays what it is: it gets two float32 buffers of shape (outputs,),
    `target_mean` and `target_spread`, which its state dictionary holds, and a forward hook. Done
    twice, it is as if done once; with other statistics, these take the place of the former.

    Args:
        network: What a network step built; it is changed. It may be on the meta device.
        means: Of each target over the training samples, in units.
        spreads: The standard deviations, above 0.

    Returns:
        The same network, whose output is float32 of shape (batch, outputs) in units, whatever
        the precision that it computes in.

    Raises:
        StepError: The network has something else under the buffers' names.
    """
    import torch

    hooked = _in_units in network._forward_hooks.values()
    for name in BUFFERS:
        if hasattr(network, name) and not hooked:
            raise StepError(
                f"The network {type(network).__name__} has an attribute {name!r} of its own, "
                "which medpipe needs for the unit of a regression's targets. Rename it."
            )
    first = next(chain(network.parameters(), network.buffers()), None)
    device = None if first is None else first.device
    for name, numbers in ((MEAN, means), (SPREAD, spreads)):
        values = torch.tensor(numbers, dtype=torch.float32, device=device)
        network.register_buffer(name, values)
    if not hooked:
        network.register_forward_hook(_in_units)
    return network


def _in_units(network: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    import torch

    # What is no tensor is refused by the check, which says so better than an error from here.
    if not isinstance(output, torch.Tensor):
        return output
    return output.float() * getattr(network, SPREAD) + getattr(network, MEAN)
