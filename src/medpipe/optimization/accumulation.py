"""Accumulate gradients as if the batches of a step were one, also where they are uneven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from ignite.engine import Engine
    from torch import nn

    from medpipe.optimization.schedules import Steps
    from medpipe.steps import Denominator, Loss, LossStep


class Accumulation:
    """Weighs each batch by the denominator of its loss.

    A loss is a mean over samples, over labels that are there, or weighted by classes. The mean of
    such means is not that of all, unless the batches are even. So the gradient of each batch counts
    by its denominator, and their sum is divided by that of all batches of the step.

    Its state belongs into a checkpoint: it is in the middle of a step.

    Args:
        denominator: See `TrainingParts.denominator`.
        network: Whose gradients are divided.
        steps: When the optimizer steps.
    """

    def __init__(self, denominator: Denominator, network: nn.Module, steps: Steps) -> None:
        self._denominator, self._network, self._steps = denominator, network, steps
        self._total: Any = 0.0

    def weighed(self, loss: Loss) -> Loss:
        """A loss of the same value, whose gradient is times the batch's denominator."""

        def weighed(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            denominator = self._denominator(labels).detach().float()
            self._total = self._total + denominator
            value = loss(predictions, labels)
            scaled = value * denominator
            # The value of the one with the gradient of the other.
            return scaled + (value - scaled).detach()

        return weighed

    def attach(self, engine: Engine) -> None:
        """Divide the gradients after the last batch of each step; MONAI's trainers call it."""
        from monai.engines.utils import IterationEvents

        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._divide)

    def _divide(self, engine: Engine) -> None:
        if not self._steps.is_one(engine.state.iteration):
            return
        # MONAI's trainer has divided each by the number of batches.
        factor = self._steps.accumulation / self._total.clamp(min=1e-12)
        for parameter in self._network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        self._total = 0.0

    def state_dict(self) -> dict[str, float]:
        """The sum of the denominators in the step that has begun."""
        return {"total": float(self._total)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        import torch

        self._total = torch.tensor(state["total"]) if state["total"] else 0.0


def denominator_of(step: LossStep, loss: Loss) -> Denominator | None:
    """What a loss of labels is divided by: its own, or the number of samples.

    Returns:
        See `TrainingParts.denominator`; None for a loss of a batch as a whole.
    """
    if step.batchwise:
        return None
    own: Denominator | None = getattr(loss, "denominator", None)
    return own or _number_of_samples


def _number_of_samples(labels: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.tensor(float(len(labels)), device=labels.device)
