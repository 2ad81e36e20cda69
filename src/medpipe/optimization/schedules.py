"""Let an optimizer's learning rates follow a schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from ignite.engine import Engine

    from medpipe.steps import ScheduleStep


@attrs.frozen(kw_only=True, eq=False)
class Steps:
    """How many steps of an optimizer there are, with gradients that may be accumulated.

    The last iteration of an epoch always steps.

    Attributes:
        max_epochs: Epochs.
        epoch_length: Iterations in an epoch.
        accumulation: Iterations for a step.
    """

    max_epochs: int
    epoch_length: int
    accumulation: int = 1

    @property
    def in_epoch(self) -> int:
        """Steps in an epoch."""
        return math.ceil(self.epoch_length / self.accumulation)

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.max_epochs * self.in_epoch

    def before(self, iteration: int) -> int:
        """Steps done before an iteration, counted from 1."""
        epochs, place = divmod(iteration - 1, self.epoch_length)
        return epochs * self.in_epoch + place // self.accumulation

    def is_one(self, iteration: int) -> bool:
        """Whether the optimizer steps in an iteration, counted from 1."""
        place = (iteration - 1) % self.epoch_length + 1
        return place == self.epoch_length or place % self.accumulation == 0


def follow_schedule(
    engine: Engine,
    optimizer: torch.optim.Optimizer,
    schedule: ScheduleStep | None,
    *,
    steps: Steps,
    history: Sequence[Mapping[str, Any]] = (),
) -> dict[str, int]:
    """Set the learning rates before each iteration, to what the schedule says of its place.

    They depend on the iteration and on the validations so far, so that a resumed run follows the
    same curve. Nothing of it needs to be in a checkpoint.

    Args:
        engine: The trainer's engine.
        optimizer: The learning rate of each of its groups is multiplied.
        schedule: The schedule; None: the learning rates stay.
        steps: How many steps there are.
        history: The validation metrics of each epoch so far; see `TrainingParts.history`.

    Returns:
        What the schedule was laid out for, for `Training.planned`.
    """
    if schedule is None:
        return {}
    from ignite.engine import Events

    step = schedule
    highest = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, highest, strict=True):
        group["initial_lr"] = rate  # as torch's schedules do

    def set_rates(done: int) -> None:
        losses = [metrics.get("loss") for metrics in history]
        factor = step.factor(done, steps.total, steps.in_epoch, losses)
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * factor

    set_rates(0)
    engine.add_event_handler(
        Events.ITERATION_STARTED, lambda: set_rates(steps.before(engine.state.iteration))
    )
    if step.planned_for == "epoch":
        return {"steps of the optimizer in an epoch": steps.in_epoch}
    if step.planned_for == "run":
        return {"steps of the optimizer in all": steps.total}
    return {}
