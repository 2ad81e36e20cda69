"""Deep supervision: the loss of a network that gives several outputs in training.

The first output is that of the network; the others come from deeper levels, where a side may be
smaller. So a network for segmentation may give a list or tuple of outputs, or one tensor of shape
(batch, heads, outputs, spatial...), as MONAI's ``DynUNet`` does.

torch is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from medpipe.steps import Loss


def heads_of(given: Any, axes: int) -> Sequence[Any]:
    """The outputs of a network, the first one first.

    Args:
        given: What the network gave.
        axes: How many axes one output has.
    """
    if isinstance(given, (list, tuple)) and given:
        return given
    if getattr(given, "ndim", None) == axes + 1:
        heads: Sequence[Any] = given.unbind(1)
        return heads
    return [given]


def first_output(network: Callable[..., Any]) -> Callable[..., Any]:
    """A network that gives its first output alone, whatever it gives."""

    def first(images: torch.Tensor) -> Any:
        return heads_of(network(images), images.ndim)[0]

    return first


def deeply_supervised(loss: Loss) -> Loss:
    """Extend a loss of images to several outputs.

    It is the mean of the losses of all outputs with the weights 1, 1/2, 1/4 and so on: MONAI's
    `DeepSupervisionLoss` over the sum of its weights. For smaller outputs the label is resampled
    by nearest neighbour. A single output has its own loss.

    Args:
        loss: Of outputs (batch, outputs, spatial...) and labels (batch, channels, spatial...).
    """
    from torch import nn

    class DeepSupervision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = loss  # a module's weights follow to the device
            own = getattr(loss, "denominator", None)
            if own is not None:
                self.denominator = own

        def forward(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
            heads = heads_of(outputs, labels.ndim)
            if len(heads) == 1:
                return loss(heads[0], labels)
            weights = [0.5**place for place in range(len(heads))]
            losses = [
                weight * loss(head, _resampled(labels, head.shape[2:]))
                for weight, head in zip(weights, heads, strict=True)
            ]
            total: torch.Tensor = sum(losses[1:], start=losses[0])
            return total / sum(weights)

    return DeepSupervision()


def _resampled(labels: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Labels with other sides: of each voxel that of the voxel at its centre."""
    import torch

    for axis, (own, side) in enumerate(zip(labels.shape[2:], sides, strict=True), 2):
        if own != side:
            places = (torch.arange(side, device=labels.device) * 2 + 1) * own // (2 * side)
            labels = labels.index_select(axis, places)
    return labels
