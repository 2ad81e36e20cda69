"""Say that a run could not choose its best network by the metric that was asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    History = Sequence[Mapping[str, float | None]]

_REMEDY = (
    "It is undefined where the validation split lacks what it measures, such as one of two "
    "classes, or where it gives NaN. Set another trainer.monitor, or give that split what is "
    "missing."
)


def undefined_epoch(monitor: str, history: History) -> str | None:
    """A sentence where the metric is undefined for the first time in the last epoch.

    Args:
        monitor: The metric that chooses the best network.
        history: The validation metrics of each epoch so far.

    Returns:
        What happens to the choice; None where there is nothing new to say.
    """
    defined = [is_defined(metrics.get(monitor)) for metrics in history]
    if not defined or defined[-1] or not all(defined[:-1]):
        return None
    if any(defined):
        then = (
            "An epoch where it is undefined is never the best, and counts for trainer.patience as "
            "one that is not better."
        )
    elif monitor == "loss":
        then = "Until it is defined, the network of the first epoch counts as the best."
    else:
        then = (
            "Until it is defined, the validation loss decides which network is the best, for "
            "trainer.patience too."
        )
    return (
        f"The validation metric {monitor!r} (trainer.monitor) is undefined in epoch "
        f"{len(defined)}. {then} {_REMEDY}"
    )


def never_defined(monitor: str, history: History, best_epoch: int) -> str | None:
    """A sentence where the metric was undefined in every epoch; None: it was not.

    Args:
        monitor: The metric that was to choose the best network.
        history: The validation metrics of each epoch.
        best_epoch: The epoch whose network counts as the best, from 1.
    """
    if not history or any(is_defined(metrics.get(monitor)) for metrics in history):
        return None
    by_loss = is_defined(history[best_epoch - 1].get("loss"))
    why = "by the validation loss" if by_loss else "for it is the first: its loss is undefined too"
    return (
        f"The best network was not chosen by {monitor!r} (trainer.monitor), which was undefined in "
        f"every epoch: that of epoch {best_epoch} was taken, {why}. {_REMEDY}"
    )


def is_defined(value: float | None) -> bool:
    """Whether a metric has a value."""
    return value is not None and not math.isnan(value)
