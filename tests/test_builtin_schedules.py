"""Schedules are torch's curves, wherever in them a run begins again."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from medpipe.builtin.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Milestones,
    OneCycle,
    Plateau,
    Polynomial,
    Steps,
)
from medpipe.optimization.schedules import Steps as Counted
from medpipe.plugin import ScheduleStep
from support.examples import examples


def factors(
    step: ScheduleStep, *, epochs: int, length: int, losses: list[float | None] | None = None
) -> list[float]:
    """The factor of every step, given the validations that there were by then."""
    some = losses or [None] * epochs
    return [
        step.factor(done, epochs * length, length, some[: done // length])
        for done in range(epochs * length)
    ]


def of_torch(make: Any, *, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


LENGTHS = {"epochs": st.integers(1, 9), "length": st.integers(1, 12)}


@settings(max_examples=examples(200), deadline=None)
@given(
    **LENGTHS,
    warm_up=st.floats(0.05, 0.95),
    start=st.floats(1, 100),
    end=st.floats(1, 1e5),
)
def test_one_cycle(epochs: int, length: int, warm_up: float, start: float, end: float) -> None:
    steps = epochs * length
    step = OneCycle(warm_up=warm_up, start_divisor=start, end_divisor=end)
    if warm_up * (steps + 1) <= 1:
        assert factors(step, epochs=epochs, length=length)[0] <= 1
        return  # torch divides by a rise of no steps
    expected = of_torch(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=steps + 1,
            pct_start=warm_up,
            div_factor=start,
            final_div_factor=end,
            cycle_momentum=False,
        ),
        steps=steps,
    )
    found = factors(step, epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)


@settings(max_examples=examples(200), deadline=None)
@given(**LENGTHS, end=st.floats(0, 0.99))
def test_cosine(epochs: int, length: int, end: float) -> None:
    steps = epochs * length
    expected = of_torch(
        lambda o: lr_scheduler.CosineAnnealingLR(o, steps, eta_min=end), steps=steps
    )
    found = factors(Cosine(end_fraction=end), epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=examples(200), deadline=None)
@given(**LENGTHS, power=st.floats(0.2, 4))
def test_polynomial(epochs: int, length: int, power: float) -> None:
    steps = epochs * length
    expected = of_torch(lambda o: lr_scheduler.PolynomialLR(o, steps, power), steps=steps)
    found = factors(Polynomial(power=power), epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=examples(200), deadline=None)
@given(**LENGTHS, every=st.integers(1, 4), gamma=st.floats(0.05, 0.95))
def test_steps(epochs: int, length: int, every: int, gamma: float) -> None:
    expected = of_torch(
        lambda o: lr_scheduler.StepLR(o, every * length, gamma), steps=epochs * length
    )
    found = factors(Steps(epochs=every, gamma=gamma), epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9)


@settings(max_examples=examples(200), deadline=None)
@given(
    **LENGTHS,
    at=st.sets(st.integers(1, 9), min_size=1, max_size=4).map(sorted),
    gamma=st.floats(0.05, 0.95),
)
def test_milestones(epochs: int, length: int, at: list[int], gamma: float) -> None:
    expected = of_torch(
        lambda o: lr_scheduler.MultiStepLR(o, [epoch * length for epoch in at], gamma),
        steps=epochs * length,
    )
    found = factors(Milestones(epochs=tuple(at), gamma=gamma), epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9)


@settings(max_examples=examples(300), deadline=None)
@given(
    losses=st.lists(st.floats(0, 2), min_size=1, max_size=30),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.floats(0, 0.3),
    gamma=st.floats(0.1, 0.9),
    end=st.floats(0, 0.3),
)
def test_plateau(
    losses: list[float], patience: int, cooldown: int, threshold: float, gamma: float, end: float
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=gamma,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_lr=end,
        eps=0.0,
    )
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        schedule.step(loss)
    step = Plateau(
        gamma=gamma, patience=patience, threshold=threshold, cooldown=cooldown, end_fraction=end
    )
    found = factors(step, epochs=len(losses), length=1, losses=list(losses))
    assert found == pytest.approx(expected, rel=1e-9)


@settings(max_examples=examples(200), deadline=None)
@given(
    epochs=st.integers(2, 9),
    length=st.integers(2, 12),
    warm_up=st.integers(1, 3),
    kind=st.sampled_from([Constant, Cosine, Polynomial]),
)
def test_the_rise_is_linear_and_then_the_curve_begins(
    epochs: int, length: int, warm_up: int, kind: Any
) -> None:
    rise = min(warm_up, epochs) * length
    rest = epochs * length - rise
    curves: dict[Any, Any] = {
        Constant: lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0),
        Cosine: lambda o: lr_scheduler.CosineAnnealingLR(o, max(rest, 1)),
        Polynomial: lambda o: lr_scheduler.PolynomialLR(o, max(rest, 1), 0.9),
    }
    first = of_torch(
        lambda o: lr_scheduler.LinearLR(o, 1 / rise, 1.0, max(rise - 1, 1)), steps=rise
    )
    expected = first + of_torch(curves[kind], steps=rest)
    found = factors(kind(warm_up_epochs=float(warm_up)), epochs=epochs, length=length)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("step", [cls for cls in SCHEDULES if cls is not Milestones])
def test_every_factor_is_a_finite_fraction(step: Any) -> None:
    for epochs in (1, 2, 5):
        found = factors(step(), epochs=epochs, length=3, losses=[math.nan, 1.0, None, 2.0, 3.0])
        assert all(0 <= factor <= 1 for factor in found)


@given(epochs=st.integers(1, 5), length=st.integers(1, 11), accumulation=st.integers(1, 12))
def test_steps_are_counted_as_they_are_done(epochs: int, length: int, accumulation: int) -> None:
    steps = Counted(max_epochs=epochs, epoch_length=length, accumulation=accumulation)
    done = 0
    for iteration in range(1, epochs * length + 1):
        assert steps.before(iteration) == done
        done += steps.is_one(iteration)
    assert done == steps.total
