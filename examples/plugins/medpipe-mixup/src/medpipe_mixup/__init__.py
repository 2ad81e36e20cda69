"""A plugin of medpipe with a trainer that mixes images, and a loss."""

from medpipe.plugin import LossStep, Step, TrainerStep, hookimpl
from medpipe_mixup.loss import MeanLabels
from medpipe_mixup.trainer import Mixup

__all__ = ["STEPS", "MeanLabels", "Mixup"]

STEPS: list[type[Step]] = [Mixup, MeanLabels]


@hookimpl
def medpipe_trainers() -> list[type[TrainerStep]]:
    """Offer the trainer."""
    return [Mixup]


@hookimpl
def medpipe_losses() -> list[type[LossStep]]:
    """Offer the loss."""
    return [MeanLabels]
