"""The loss's module; it imports torch, and is imported when a loss is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import log_softmax, one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence


class MeanLabelLoss(nn.Module):
    """Cross-entropy with labels moved towards the mean label; a module, so that it is on a device.

    Args:
        counts: How many training samples each class has.
        share: The share of the mean label.
    """

    mean: torch.Tensor

    def __init__(self, counts: Sequence[int], *, share: float) -> None:
        super().__init__()
        found = torch.tensor(counts, dtype=torch.float32)
        self.register_buffer("mean", found / found.sum())
        self.share = share

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Give the mean over samples, of outputs (batch, classes) and labels (batch,)."""
        own = one_hot(labels, outputs.shape[1]).float()
        target = torch.lerp(own, self.mean.expand_as(own), self.share)
        return -(target * log_softmax(outputs.float(), dim=1)).sum(dim=1).mean()
