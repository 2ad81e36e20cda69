"""Overlaps and cross-entropy of a softmax, with the gradient of both in closed form.

Heavy: it imports torch; the losses import it inside functions.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: torch.Tensor, target: torch.Tensor) -> Sums:
        shares = torch.softmax(logits, 1)
        context.save_for_backward(shares, target)
        found = shares * target
        # Where a share is too small for float32, the entropy is that of the smallest.
        right = found.sum(1).clamp_(min=torch.finfo(found.dtype).tiny)
        return found.sum(2), shares.sum(2), -right.log_().sum()

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, both: torch.Tensor, predicted: torch.Tensor, entropy: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        shares, target = context.saved_tensors
        # Of the sums by the shares, then of the shares by the logits.
        result = torch.addcmul(predicted[:, :, None], target, both[:, :, None]).mul_(shares)
        of_voxel = result.sum(1, keepdim=True).sub_(entropy)
        result.addcmul_(shares, of_voxel, value=-1)
        return result.addcmul_(target, entropy, value=-1), None


def softmax_sums(logits: torch.Tensor, target: torch.Tensor) -> Sums:
    """Sums over voxels of the shares of a softmax, and of its cross-entropy.

    Autograd would write and read a tensor as large as the logits for each operation: on a CPU a
    step's loss takes twice as long.

    Args:
        logits: float32, of shape (batch, classes, voxels).
        target: As large, float32: 1 for the class of a voxel, else 0.

    Returns:
        The shares times the target and the shares alone, both summed to (batch, classes); and the
        cross-entropy, summed over all voxels.
    """
    return cast("Sums", _SoftmaxSums.apply(logits, target))  # type: ignore[no-untyped-call]
