"""Grad-CAM: where in an image the network's answer comes from.

Source: Selvaraju et al., Grad-CAM (ICCV 2017). torch is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    Array = np.ndarray[Any, np.dtype[Any]]

PLACES = (16, 4)
"""How many places a layer's output has at least, by preference: one says nothing of where."""


@attrs.frozen(kw_only=True)
class Layer:
    """A layer whose output still has places.

    Attributes:
        name: Its name in the network.
        sides: Of its output.
    """

    name: str
    sides: tuple[int, ...]


def where_it_is(image: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """An image on the device of a network's parameters and in their type, as it must be given."""
    first = next((p for p in network.parameters() if p.is_floating_point()), None)
    return image if first is None else image.to(device=first.device, dtype=first.dtype)


def last_layer(network: nn.Module, image: torch.Tensor) -> Layer | None:
    """The last layer, in the order in which they run, whose output still has places.

    Args:
        network: In evaluation mode, on any device.
        image: Of shape (1, channels, spatial...), wherever it is.

    Returns:
        None where there is none in the later half of the network, as in transformers.
    """
    import torch

    seen: list[Layer] = []
    handles = []
    for name, module in network.named_modules():
        if not list(module.children()):

            def note(_: Any, __: Any, output: Any, name: str = name) -> None:
                sides = tuple(output.shape[2:]) if isinstance(output, torch.Tensor) else ()
                seen.append(Layer(name=name, sides=sides))

            handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            network(where_it_is(image, network))
    finally:
        for handle in handles:
            handle.remove()
    axes = image.ndim - 2
    for least in PLACES:
        for place in range(len(seen) - 1, len(seen) // 2 - 1, -1):
            layer = seen[place]
            if len(layer.sides) == axes and math.prod(layer.sides) >= least:
                return layer
    return None


def grad_cam(network: nn.Module, image: torch.Tensor, layer: Layer, output: int) -> Array:
    """The map of one output of the network.

    Args:
        network: In evaluation mode, on any device; its gradients stay as they are.
        image: Of shape (1, channels, spatial...), wherever it is.
        layer: From `last_layer`.
        output: Which of the network's outputs.

    Returns:
        From 0 to 1, of the image's spatial shape; 0 where nothing speaks for the output.
    """
    import torch
    from torch.nn import functional

    kept: list[torch.Tensor] = []
    module = network.get_submodule(layer.name)

    def keep(_: Any, __: Any, given: torch.Tensor) -> torch.Tensor:
        found = given.detach().clone().requires_grad_()
        kept.append(found)
        return found.clone()  # what comes next may change it in place

    handle = module.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # A layer may run several times: the last time counts.
            score = network(where_it_is(image, network))[0, output]
            (gradient,) = torch.autograd.grad(score, kept[-1])
    finally:
        handle.remove()
    weights = gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True)
    found = torch.relu((weights * kept[-1].detach()).sum(dim=1, keepdim=True)).float()
    mode = "trilinear" if image.ndim == 5 else "bilinear"
    found = functional.interpolate(found, size=image.shape[2:], mode=mode, align_corners=False)
    heat: Array = found[0, 0].cpu().numpy()
    top = float(heat.max())
    return heat / top if top > 0 else heat
