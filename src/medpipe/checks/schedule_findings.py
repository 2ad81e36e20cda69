"""What is probably not meant in a trainer's learning rate, schedule, patience and accumulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.steps import ScheduleStep, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medpipe.assembly import Assembly

USUAL = 1e-2
"""The usual learning rate of an optimizer that names none."""
HIGH = 100
"""How many times the usual learning rate is too high."""
NOTHING = 1e-3
"""The factor below which a schedule leaves hardly anything of the learning rate."""
MOST = 1000
"""About how many steps of a schedule are looked at."""


def schedule_findings(
    assembly: Assembly, *, epoch_length: int, highest: float | None, validated: bool
) -> Iterator[str]:
    """Give warnings about what the trainer's parameters amount to over the run.

    Args:
        assembly: Holds the trainer, without ``"auto"``.
        epoch_length: Iterations in an epoch.
        highest: The highest learning rate; None where it isn't known.
        validated: Whether there is a validation split.
    """
    trainer = assembly.configuration.trainer
    epochs = resolved(trainer.max_epochs)
    optimizer = getattr(trainer, "optimizer", None)
    usual = float(getattr(optimizer, "usual_rate", USUAL))
    if highest is not None and highest > HIGH * usual:
        yield (
            f"a learning rate of {highest:g} is {highest / usual:,.0f} times the usual {usual:g}, "
            "and training rarely survives it. Lower trainer.learning_rate, or leave it out."
        )
    if trainer.patience is not None and validated and trainer.patience >= epochs:
        yield (
            f"trainer.patience = {trainer.patience} is not below the {epochs} epochs, so that the "
            "run never stops early. Lower it, or leave it out."
        )
    accumulation = int(getattr(trainer, "accumulation", 1))
    if accumulation > epoch_length:
        yield (
            f"trainer.accumulation = {accumulation} is above the {epoch_length} iterations of an "
            "epoch, which ends with a step of the optimizer: it has one step for each epoch. Lower "
            "it."
        )
    schedule = getattr(trainer, "schedule", None)
    if isinstance(schedule, ScheduleStep):
        steps = -(-epoch_length // accumulation)
        yield from _of_schedule(assembly, schedule, epochs, steps, validated=validated)


def _of_schedule(
    assembly: Assembly, schedule: ScheduleStep, epochs: int, steps: int, *, validated: bool
) -> Iterator[str]:
    """Warnings about the curve of a schedule over so many epochs of so many steps."""
    title, total = assembly.registry.title(schedule), epochs * steps
    if total < 2:
        return
    end = total - 1, total, steps
    followed = schedule.factor(*end, [1.0] * epochs) != schedule.factor(*end, [])
    if followed and not validated:
        yield (
            f"{title} waits for the validation loss, and the validation split is empty: the "
            "learning rate never falls. Set split.validation above 0, or take another schedule."
        )
    if followed or schedule.planned_for == "nothing":
        return
    looked_at = sorted({*range(0, total, max(1, total // MOST)), total - 1})
    factors = [schedule.factor(done, total, steps, []) for done in looked_at]
    top = max(factors)
    if schedule.planned_for == "epoch" and min(factors) == top:
        yield (
            f"{title} leaves the learning rate as it is in all {epochs} epochs. Raise "
            "trainer.max_epochs, or let its epochs lie in the run."
        )
    if factors[0] < top and factors.index(top) == len(factors) - 1:
        yield (
            f"{title} lets the learning rate rise until the end of the {epochs} epochs. Shorten "
            "its warm-up, or raise trainer.max_epochs."
        )
    last = max(at for at, factor in enumerate(factors) if factor >= NOTHING * top)
    done = looked_at[min(last + 1, len(factors) - 1)]
    if done < total / 2:
        yield (
            f"{title} leaves less than a thousandth of the learning rate after {-(-done // steps)} "
            f"of {epochs} epochs. Let it fall more slowly, or lower trainer.max_epochs."
        )
