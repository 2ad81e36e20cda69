"""Schedules that each fail one check."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import attrs

from medpipe.plugin import ScheduleStep

Losses = Sequence[float | None]


@attrs.frozen(kw_only=True)
class Sound(ScheduleStep):
    """Linearly down to a fraction.

    Attributes:
        end: The fraction.
    """

    name: ClassVar[str] = "sound"
    end: float = 0.1

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        return 1 - (1 - self.end) * min(1.0, done / total)


@attrs.frozen(kw_only=True)
class NothingAtTheEnd(Sound):
    """No answer at the last step."""

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> Any:
        return 1 - done / total if done < total - 1 else None


@attrs.frozen(kw_only=True)
class BelowZero(Sound):
    """Below zero in the second half."""

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        return 1 - 2 * done / total


@attrs.frozen(kw_only=True)
class Zero(Sound):
    """Nothing is learned."""

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        return 0.0


@attrs.frozen(kw_only=True)
class Counts(Sound):
    """Less at each call."""

    calls: ClassVar[list[int]] = []

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        self.calls.append(done)
        return 1 / len(self.calls)


@attrs.frozen(kw_only=True)
class LeastLoss(Sound):
    """The least of the losses, of which none may be undefined."""

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        return min([1.0, *losses])  # type: ignore[type-var,return-value]


@attrs.frozen(kw_only=True)
class ToTheLastStep(Sound):
    """Nothing left to divide by in a run of one step."""

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        return max(0.0, 1 - done / (total - 1))


@attrs.frozen(kw_only=True)
class SaysNothing(Sound):
    """The number of steps counts, and is not said to."""

    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "nothing"


@attrs.frozen(kw_only=True)
class OfEpochs(ScheduleStep):
    """Half after every epoch without a better loss.

    Attributes:
        least: The least factor.
    """

    name: ClassVar[str] = "of_epochs"
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "nothing"
    least: float = attrs.field()

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        known = [loss for loss in losses if loss is not None]
        worse = sum(after >= before for before, after in itertools.pairwise(known))
        return max(self.least, float(0.5**worse))


BROKEN: dict[str, Any] = {
    "gives_a_factor": NothingAtTheEnd(),
    "is_never_negative": BelowZero(),
    "lets_the_network_learn": Zero(),
    "answers_in_any_order": Counts(),
    "takes_undefined_losses": LeastLoss(),
    "takes_runs_of_any_length": ToTheLastStep(),
    "is_planned_for_what_it_says": SaysNothing(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), OfEpochs(least=0.01)]
"""Steps that fail none."""
