"""What a checkpoint puts back: the place, gradients and generators, also in other epochs."""

from __future__ import annotations

import random
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medpipe.errors import RunError
from medpipe.steps import Training
from medpipe.training.loop import Progress
from medpipe.training.restoring import checkpoint_of, restore
from medpipe.training.run_checkpoints import Found


@attrs.define
class Order:
    """Where a loader is."""

    position: tuple[int, int]

    def start_at(self, position: tuple[int, int]) -> None:
        self.position = position


def training(seed: int, length: int | None) -> Training:
    torch.manual_seed(seed)
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    engine = Engine(lambda *_: None)
    engine.state.epoch_length = length
    return Training(engine=engine, state={"network": network, "optimizer": optimizer})


def found(progress: Progress, position: tuple[int, int] = (2, 3)) -> tuple[Training, Found]:
    """A training, and what its checkpoint holds, as it comes from the disk."""
    made = training(1, progress.epoch_length)
    objects, about = checkpoint_of(made, progress, Order(position))  # type: ignore[arg-type]
    states = {name: item.state_dict() for name, item in objects.items()}
    return made, Found(states=states, about=about)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("length", [10, None])
def test_it_goes_on_where_it_was(length: int | None) -> None:
    saved = Progress(iteration=24, epoch_length=10, losses=[3.0, 2.0], best=0.5, best_epoch=2)
    before, checkpoint = found(saved)
    drawn = draws()
    after, order = training(2, length), Order((0, 0))
    assert restore(checkpoint, after, order) == saved  # type: ignore[arg-type]
    assert order.position == (2, 3)
    assert draws() == drawn
    pairs = zip(
        before.state["network"].parameters(), after.state["network"].parameters(), strict=True
    )
    for old, new in pairs:
        assert torch.equal(old, new)
        assert torch.equal(old.grad, new.grad)
    moments = [made.state["optimizer"].state_dict()["state"] for made in (before, after)]
    assert torch.equal(moments[0][0]["momentum_buffer"], moments[1][0]["momentum_buffer"])


@pytest.mark.parametrize("validating", [False, True])
def test_an_epoch_that_has_another_length_now_begins_again(validating: bool) -> None:
    losses = [3.0, 2.0]
    saved = Progress(iteration=24, epoch_length=10, losses=losses, validating=validating)
    _, checkpoint = found(saved)
    after, order = training(2, 7), Order((0, 0))
    progress = restore(checkpoint, after, order)  # type: ignore[arg-type]
    assert (progress.iteration, progress.epoch_length) == (2 * 7, 7)
    assert progress.losses == (losses if validating else [])
    assert order.position == (2, 0)
    assert all(value.grad is None for value in after.state["network"].parameters())


def test_gradients_are_kept_in_the_middle_of_an_epoch_alone() -> None:
    _, checkpoint = found(Progress(iteration=20, epoch_length=10))
    assert sorted(checkpoint.states) == ["$generators", "network", "optimizer"]
    after = training(2, 10)
    restore(checkpoint, after, Order((0, 0)))  # type: ignore[arg-type]
    assert all(value.grad is None for value in after.state["network"].parameters())


def test_a_state_that_is_gone_is_named_before_anything_is_changed() -> None:
    _, checkpoint = found(Progress(iteration=20, epoch_length=10))
    left: dict[str, Any] = dict(checkpoint.states)
    del left["$generators"], left["optimizer"]
    after, order = training(2, 10), Order((0, 0))
    weights = [value.clone() for value in after.state["network"].parameters()]
    with pytest.raises(RunError) as caught:
        restore(attrs.evolve(checkpoint, states=left), after, order)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "The checkpoint to resume from doesn't fit: The checkpoint has no state of 'optimizer'. "
        "The checkpoint "
        "has no state of the random generators."
    )
    assert order.position == (0, 0)
    assert all(map(torch.equal, weights, after.state["network"].parameters()))
