"""Checks of schedules."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.steps import ScheduleStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.use import Use, typical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Arguments = tuple[int, int, int, tuple[float | None, ...]]


@attrs.frozen(kw_only=True)
class Planned:
    """A run: so many epochs of so many steps."""

    tried: ClassVar[tuple[tuple[int, int], ...]] = ((12, 5), (40, 3))

    epochs: int
    length: int

    def arguments(self, losses: Sequence[float | None]) -> Iterator[Arguments]:
        """What a schedule gets at each step, with the validation losses of the epochs so far."""
        for done in range(self.epochs * self.length):
            so_far = tuple(losses[: done // self.length])
            yield done, self.epochs * self.length, self.length, so_far


LOSSES: tuple[float | None, ...] = (1.0, 0.8, 0.9, 0.7, *[0.75] * 30, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5)
UNDEFINED: tuple[float | None, ...] = (None, 0.8, None, None, *[None] * 20, 0.5, *[None] * 15)
RUNS = tuple(Planned(epochs=epochs, length=length) for epochs, length in Planned.tried)


@check(
    ScheduleStep,
    protects="The learning rate is multiplied by the factor before each step.",
    remedy="Give a float from every path through factor.",
)
def gives_a_factor(case: Case) -> None:
    """It gives a number at every step of a run."""
    for run in RUNS:
        for given in run.arguments(LOSSES):
            value: Any = case.step.factor(*given)
            if type(value) is bool or not isinstance(value, Real):
                raise FailedError(f"at {_place(given)} it gives {value!r:.60}")


@check(
    ScheduleStep,
    protects="A negative rate climbs, and one of NaN ruins the weights.",
    remedy="Limit the factor: max(0.0, ...), and divide by nothing that may be 0.",
    needs=[gives_a_factor],
)
def is_never_negative(case: Case) -> None:
    """Its factors are finite and 0 or more."""
    for run in RUNS:
        for given in run.arguments(LOSSES):
            value = float(case.step.factor(*given))
            if not math.isfinite(value) or value < 0:
                raise FailedError(f"at {_place(given)} its factor is {value}")


@check(
    ScheduleStep,
    protects="A rate of 0 in all steps trains nothing.",
    remedy="Let the factor be 1 where the trainer's learning rate is meant.",
    needs=[gives_a_factor],
)
def lets_the_network_learn(case: Case) -> None:
    """Some of its factors in a run are above 0."""
    if not any(float(case.step.factor(*given)) > 0 for given in RUNS[0].arguments(LOSSES)):
        raise FailedError("all its factors are 0")


@check(
    ScheduleStep,
    protects="A resumed run, and each process of several, asks for single steps of the curve.",
    remedy="Compute the factor from the arguments alone; keep and draw nothing.",
    needs=[gives_a_factor],
)
def answers_in_any_order(case: Case) -> None:
    """The same arguments give the same factor, asked for in any order and of an equal step."""
    for run in RUNS:
        asked = list(run.arguments(LOSSES))
        straight = [case.step.factor(*given) for given in asked]
        other = attrs.evolve(case.step)
        backwards = [other.factor(*given) for given in reversed(asked)][::-1]
        for given, one, two in zip(asked, straight, backwards, strict=True):
            if one != two:
                raise FailedError(f"at {_place(given)} it gives {one}, and asked again {two}")


@check(
    ScheduleStep,
    protects="Runs may be without validations, and a validation loss may be undefined (None).",
    remedy="Leave None out, and have an answer where losses is empty.",
    needs=[gives_a_factor, is_never_negative],
)
def takes_undefined_losses(case: Case) -> None:
    """It gives a factor where losses are None, and where there are none at all."""
    for said, losses in (("losses that are None", UNDEFINED), ("no losses", ())):
        for run in RUNS:
            for given in run.arguments(losses):
                _sound(case, given, said)


@check(
    ScheduleStep,
    protects="A trial run has one step, and one that is resumed may begin at its end.",
    remedy="Look for divisions by total, epoch_length or what is left of them.",
    needs=[gives_a_factor, is_never_negative],
)
def takes_runs_of_any_length(case: Case) -> None:
    """It gives a factor in runs of one and two steps and at the end of a run, a number beyond."""
    for epochs, length in ((1, 1), (1, 2), (2, 1), (12, 5)):
        total = epochs * length
        for done in (0, total - 1, total, total + length):
            given = (done, total, length, LOSSES[: done // length])
            _sound(case, given, f"total = {total}", least=0.0 if done <= total else -math.inf)


@check(
    ScheduleStep,
    protects="A run is resumed with other epochs only if its curve stays the same.",
    remedy="Set planned_for to what factor uses: 'run' for total, 'epoch' for epoch_length.",
    needs=[gives_a_factor],
)
def is_planned_for_what_it_says(case: Case) -> None:
    """Planned for an epoch or nothing it is the same in a longer run; for nothing, of any epoch."""
    said = case.step.planned_for
    if said not in ("run", "epoch", "nothing"):
        raise FailedError(f"its planned_for is {said!r}, not 'run', 'epoch' or 'nothing'")
    if said == "run":
        raise skip("it is planned for the whole run, and says so")
    for run in RUNS:
        for done, total, length, losses in run.arguments(LOSSES):
            others = [(done, 2 * total, length, losses)]
            if said == "nothing":
                others.append((done, total, 2 * length, losses))
            first = case.step.factor(done, total, length, losses)
            for given in others:
                if (other := case.step.factor(*given)) != first:
                    raise FailedError(
                        f"planned for {said!r}, it gives {first:.6g} at "
                        f"{_place((done, total, length, losses))} and {other:.6g} at "
                        f"{_place(given)}"
                    )


@typical("schedule", found_by=gives_a_factor)
def _use(case: Case) -> Use:
    losses = list(LOSSES)

    def call() -> object:
        run = RUNS[0]
        return [
            case.step.factor(done, total, length, losses)
            for done, total, length, _ in run.arguments(losses)
        ]

    return Use(given=losses, call=call)


def _sound(case: Case, given: Arguments, said: str, *, least: float = 0.0) -> None:
    try:
        value = float(case.step.factor(*given))
    except Exception as error:
        raise FailedError(f"with {said} it raises {described(error)}") from error
    if not math.isfinite(value) or value < least:
        raise FailedError(f"with {said} it gives {value} at {_place(given)}")


def _place(given: Arguments) -> str:
    done, total, length, _ = given
    return f"step {done} of {total}, in epochs of {length}"
