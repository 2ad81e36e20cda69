"""The training loss over the processes of a run: each sample counts once, however they are dealt.

torch is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from medpipe.distributed.processes import Processes

    Loss = Callable[[Any, torch.Tensor], torch.Tensor]
    Denominator = Callable[[torch.Tensor], torch.Tensor]


class SharedLoss:
    """A loss whose value is that of the whole batch in every process.

    Gradients are averaged over the processes, as `DistributedDataParallel` does. So that of this
    process's part is multiplied by their number and by the part's share of the denominator: the
    average is then the gradient of the whole batch's loss.

    Args:
        loss: The loss of a part.
        denominator: What it is divided by; None: it is of a batch as a whole, and parts count by
            their samples.
        processes: Those of the run.
        counts: Whether the batch that came last has samples of this process: if not, it has one
            that stands in for them and counts nothing.
    """

    def __init__(
        self,
        loss: Loss,
        denominator: Denominator | None,
        processes: Processes,
        counts: Callable[[], bool],
    ) -> None:
        self._loss, self._own = loss, denominator
        self._processes, self._counts = processes, counts

    def __call__(self, predictions: Any, labels: torch.Tensor) -> torch.Tensor:
        """The loss of the whole batch, a tensor without dimensions."""
        value = self._loss(predictions, labels)
        part = self._of_part(labels)
        if not part:
            value = _zero(predictions)
        own = float(value.detach()) * part
        total, whole = self._processes.total(own, part)
        if not math.isfinite(total) and math.isfinite(own):
            self._processes.await_failure()  # it names its samples
        if not whole:
            return value
        scaled = value * (part * self._processes.here.world_size / whole)
        # The value of all with the gradient of this part.
        return scaled + (value.new_tensor(total / whole) - scaled).detach()

    def denominator(self, labels: torch.Tensor) -> torch.Tensor:
        """What the loss of the whole batch is divided by."""
        import torch

        (whole,) = self._processes.total(self._of_part(labels))
        return torch.tensor(whole, device=labels.device)

    def _of_part(self, labels: torch.Tensor) -> float:
        if not self._counts():
            return 0.0
        return float(len(labels) if self._own is None else self._own(labels))


def _zero(predictions: Any) -> torch.Tensor:
    """Zero, with a gradient of zero to all that was predicted."""
    heads = predictions if isinstance(predictions, (list, tuple)) else [predictions]
    total: torch.Tensor = sum(head.float().sum() * 0 for head in heads)
    return total
