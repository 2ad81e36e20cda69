"""The focal loss of a softmax with a power below 1, whose gradient MONAI loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn


def softmax_focal(gamma: float, alpha: Sequence[float] | None) -> nn.Module:
    """MONAI's focal loss with ``use_softmax``, for `gamma` between 0 and 1.

    Where a class is certain in float32, the slope of the power is infinite, and MONAI's gradient
    NaN. Here it is 0, which is its limit.

    Args:
        gamma: The power.
        alpha: A weight for each class; None: all the same.

    Returns:
        A module on logits and one-hot labels, both (batch, classes, ...), which gives as many
        numbers; or on logits (batch, classes) and classes (batch,), which gives the mean.
    """
    import torch
    from torch import nn

    class SoftmaxFocal(nn.Module):
        alpha: torch.Tensor | None

        def __init__(self) -> None:
            super().__init__()
            weights = None if alpha is None else torch.tensor(alpha, dtype=torch.float32)
            self.register_buffer("alpha", weights)

        def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            indices = target.ndim == 1
            if indices:
                target = nn.functional.one_hot(target, outputs.shape[1])
            logs = outputs.float().log_softmax(1)
            rest = (1 - logs.exp()).clamp(min=torch.finfo(logs.dtype).tiny)
            values = -rest.pow(gamma) * logs * target
            if self.alpha is not None:
                values = values * self.alpha.view(1, -1, *[1] * (outputs.ndim - 2))
            return values.mean() if indices else values

    return SoftmaxFocal()
