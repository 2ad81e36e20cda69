"""Schedule steps: pure functions of the step of the optimizer, with torch's curves."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt, le, lt

from medpipe.plugin import ScheduleStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    Losses = Sequence[float | None]


def _warm_up() -> Any:
    return attrs.field(default=0.0, validator=ge(0))


class _WithWarmUp(ScheduleStep):
    """A curve after a linear rise: torch's `LinearLR`, then the curve from its beginning."""

    warm_up_epochs: float

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Without a rise, and with one of three epochs."""
        given = dict(cls._given())
        return [cls(**given), cls(**given | {"warm_up_epochs": 3.0})]

    @classmethod
    def _given(cls) -> Mapping[str, Any]:
        """The parameters of an example that have no default."""
        return {}

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The rise in the first steps, then `curve`."""
        rise = min(round(self.warm_up_epochs * epoch_length), total)
        if done < rise:
            return (done + 1) / rise
        return self.curve(done - rise, total - rise, epoch_length, losses)

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The factor after so many steps of so many."""
        raise NotImplementedError


class _PlannedByWarmUp(_WithWarmUp):
    """A curve that depends on no number of steps, but for its warm-up's epochs."""

    @property
    def planned_for(self) -> Literal["run", "epoch", "nothing"]:  # type: ignore[override]
        """``epoch`` with a warm-up, otherwise ``nothing``."""
        return "epoch" if self.warm_up_epochs else "nothing"


@attrs.frozen(kw_only=True)
class Constant(_PlannedByWarmUp):
    """The learning rate as it is.

    Attributes:
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "constant"
    warm_up_epochs: float = _warm_up()

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """1."""
        return 1.0


@attrs.frozen(kw_only=True)
class OneCycle(ScheduleStep):
    """Up to the learning rate and down: torch's `OneCycleLR` (Smith, arXiv:1708.07120).

    Attributes:
        warm_up: The fraction of the steps that go up.
        start_divisor: What the first learning rate is divided by.
        end_divisor: What the first one is divided by to get the last one.
    """

    name: ClassVar[str] = "one_cycle"
    warm_up: float = attrs.field(default=0.3, validator=[gt(0), lt(1)])
    start_divisor: float = attrs.field(default=25.0, validator=ge(1))
    end_divisor: float = attrs.field(default=1e4, validator=ge(1))

    def factor(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """Two half cosines; as torch's for one step more, which is never taken."""
        first = 1 / self.start_divisor
        top = self.warm_up * (total + 1) - 1
        if done <= top:
            return _half_cosine(first, 1.0, done / top if top else 1.0)
        return _half_cosine(1.0, first / self.end_divisor, (done - top) / (total - top))


@attrs.frozen(kw_only=True)
class Cosine(_WithWarmUp):
    """Cosine annealing down to a fraction (Loshchilov and Hutter, arXiv:1608.03983, eq. 5).

    Attributes:
        end_fraction: The fraction of the learning rate at the end.
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "cosine"
    end_fraction: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])
    warm_up_epochs: float = _warm_up()

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """Half a cosine."""
        return _half_cosine(1.0, self.end_fraction, done / total if total else 1.0)


@attrs.frozen(kw_only=True)
class Polynomial(_WithWarmUp):
    """Down to nothing by a power of what is left: torch's `PolynomialLR`.

    Attributes:
        power: 1: linear; 0.9 as nnU-Net has it.
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "polynomial"
    power: float = attrs.field(default=0.9, validator=gt(0))
    warm_up_epochs: float = _warm_up()

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The power of the steps that are left."""
        return float((1 - min(done / total, 1.0)) ** self.power) if total else 0.0


@attrs.frozen(kw_only=True)
class Steps(_WithWarmUp):
    """Times `gamma` after every `epochs` epochs: torch's `StepLR`.

    Attributes:
        epochs: Epochs between two steps.
        gamma: What the learning rate is multiplied by.
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "steps"
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "epoch"
    epochs: int = attrs.field(default=1, validator=ge(1))
    gamma: float = attrs.field(default=0.1, validator=[gt(0), lt(1)])
    warm_up_epochs: float = _warm_up()

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The power of the steps so far."""
        return float(self.gamma ** (done // (self.epochs * epoch_length)))


@attrs.frozen(kw_only=True)
class Milestones(_WithWarmUp):
    """Times `gamma` after each of some epochs: torch's `MultiStepLR`.

    Attributes:
        epochs: After which epochs, ascending.
        gamma: What the learning rate is multiplied by.
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "milestones"
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "epoch"
    epochs: tuple[int, ...] = attrs.field()
    gamma: float = attrs.field(default=0.1, validator=[gt(0), lt(1)])
    warm_up_epochs: float = _warm_up()

    @classmethod
    def _given(cls) -> Mapping[str, Any]:
        return {"epochs": (3, 6)}

    @epochs.validator
    def _ascending(self, _: attrs.Attribute[Any], epochs: tuple[int, ...]) -> None:
        if not epochs or epochs[0] < 1 or list(epochs) != sorted(set(epochs)):
            raise ValueError(f"must be whole numbers from 1, ascending, got {list(epochs)}.")

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The power of the milestones passed."""
        passed = bisect_right([epoch * epoch_length for epoch in self.epochs], done)
        return float(self.gamma**passed)


@attrs.frozen(kw_only=True)
class Plateau(_PlannedByWarmUp):
    """Times `gamma` when the validation loss no longer falls: torch's `ReduceLROnPlateau`.

    An epoch whose validation loss is undefined counts as one without a better one.

    Attributes:
        gamma: What the learning rate is multiplied by.
        patience: Epochs without a better loss that are waited for.
        threshold: By what fraction a loss must be below the best so far to be better.
        cooldown: Epochs after a reduction in which nothing is counted.
        end_fraction: The fraction of the learning rate below which it does not fall.
        warm_up_epochs: Epochs (or parts of one) of a linear rise before it.
    """

    name: ClassVar[str] = "plateau"
    gamma: float = attrs.field(default=0.1, validator=[gt(0), lt(1)])
    patience: int = attrs.field(default=10, validator=ge(0))
    threshold: float = attrs.field(default=1e-4, validator=[ge(0), lt(1)])
    cooldown: int = attrs.field(default=0, validator=ge(0))
    end_fraction: float = attrs.field(default=0.0, validator=[ge(0), le(1)])
    warm_up_epochs: float = _warm_up()

    def curve(self, done: int, total: int, epoch_length: int, losses: Losses) -> float:
        """The factor after the validations so far."""
        factor, best, bad, cooling = 1.0, math.inf, 0, 0
        for loss in losses:
            if loss is not None and loss < best * (1 - self.threshold):
                best, bad = loss, 0
            else:
                bad += 1
            if cooling:
                cooling, bad = cooling - 1, 0
            if bad > self.patience:
                factor = max(factor * self.gamma, self.end_fraction)
                cooling, bad = self.cooldown, 0
        return factor


SCHEDULES: tuple[type[ScheduleStep], ...] = (
    Constant,
    OneCycle,
    Cosine,
    Polynomial,
    Steps,
    Milestones,
    Plateau,
)
"""All built-in schedules."""


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))
