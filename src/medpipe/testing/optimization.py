"""Checks of optimizers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.optimization.optimizers import make_optimizer
from medpipe.steps import OptimizerStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.use import Use, typical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

SHAPES = {
    "a single number": (),
    "a bias": (12,),
    "one weight": (1, 1),
    "a matrix": (12, 10),
    "a kernel in 2-D": (12, 10, 3, 3),
    "a kernel in 3-D": (9, 8, 3, 3, 3),
}
STEPS = 4
LITTLE = 1e-3
"""Of the usual learning rate; `FAR` below it is what parameters then move."""
FAR = 0.05


@check(
    OptimizerStep,
    protects="The trainer takes an optimizer of torch for the parameters that it trains.",
    remedy="Give a torch.optim.Optimizer of the groups as they come: [dict(g) for g in groups].",
)
def makes_an_optimizer(case: Case) -> None:
    """It gives an optimizer of torch with each parameter in its group."""
    import torch

    rate = case.step.usual_rate
    if not (math.isfinite(rate) and rate > 0):
        raise FailedError(f"its usual_rate is {rate}")
    groups: list[dict[str, Any]] = [{"params": [_parameter((3,))]}, {"params": [_parameter(())]}]
    made: Any = case.step.build([dict(group) for group in groups], rate)
    if not isinstance(made, torch.optim.Optimizer):
        raise FailedError(f"it gives {type(made).__name__}, not a torch.optim.Optimizer")
    expected = [[id(one) for one in group["params"]] for group in groups]
    if [[id(one) for one in group["params"]] for group in made.param_groups] != expected:
        raise FailedError("its param_groups are not the groups that it was given")


@check(
    OptimizerStep,
    protects="An optimizer that lowers no loss trains no network.",
    remedy="Step against the gradient, without a closure, and set usual_rate to one that trains.",
    needs=[makes_an_optimizer],
)
def lowers_a_loss(case: Case) -> None:
    """At its usual rate it lowers a sum of squares."""
    network = _network({"a bias": (12,), "a matrix": (12, 10)})
    optimizer = _optimizer(case, network)
    before = _distance(network)
    _train(network, optimizer, 60)
    after = _distance(network)
    if not after < before:
        raise FailedError(
            f"in 60 steps it brings a sum of squares from {before:.4g} to {after:.4g}"
        )


@check(
    OptimizerStep,
    protects="Networks have scalars, vectors, matrices and kernels in 2-D and 3-D.",
    remedy="Ask for parameter.ndim where shapes matter, and have a way for each.",
    needs=[makes_an_optimizer],
)
def trains_all_shapes(case: Case) -> None:
    """It changes parameters of every shape."""
    for said, shape in SHAPES.items():
        network = _network({said: shape})
        before = _values(network)
        try:
            _train(network, _optimizer(case, network), STEPS)
        except Exception as error:
            raise FailedError(
                f"{said} {list(shape)} raises {described(error, most=300)}"
            ) from error
        if _moved(before, network) == 0:
            raise FailedError(f"{said} {list(shape)} is the same after {STEPS} steps")


@check(
    OptimizerStep,
    protects="Gradients of 0 are common: of a ReLU that is off, of a class that is absent.",
    remedy="Add a small number to what the gradient is divided by.",
    needs=[makes_an_optimizer, trains_all_shapes],
)
def stays_finite(case: Case) -> None:
    """Parameters stay finite with gradients of 0, tiny ones and large ones."""
    import torch

    for size in (0.0, 1e-20, 1e10):
        network = _network(SHAPES)
        optimizer = _optimizer(case, network)
        for _ in range(STEPS):
            for parameter in network.parameters():
                parameter.grad = torch.full_like(parameter, size)
            optimizer.step()
        if not all(bool(one.isfinite().all()) for one in network.parameters()):
            raise FailedError(f"gradients of {size:g} make parameters NaN or infinite")


@check(
    OptimizerStep,
    protects="A run that was stopped and resumed ends with the weights of one that was not.",
    remedy="Keep all in self.state and param_groups, as tensors and numbers; nothing on self.",
    needs=[makes_an_optimizer, trains_all_shapes],
)
def resumes_exactly(case: Case) -> None:
    """Stopped, kept in a checkpoint and restored, it goes on to the same weights, bit by bit."""
    import torch

    from medpipe.training.checkpoint import load_checkpoint, save_checkpoint

    whole, first, second = (_network(SHAPES) for _ in range(3))
    straight = _optimizer(case, whole)
    _train(whole, straight, STEPS)
    _slower(straight)
    _train(whole, straight, STEPS)
    stopped = _optimizer(case, first)
    _train(first, stopped, STEPS)
    _slower(stopped)
    path = case.folder / "checkpoint"
    try:
        save_checkpoint(path, {"network": first, "optimizer": stopped}, about={})
        states, _ = load_checkpoint(path)
        second.load_state_dict(states["network"])
        resumed = _optimizer(case, second)
        resumed.load_state_dict(states["optimizer"])
    except Exception as error:
        raise FailedError(f"its state can't be kept: {described(error, most=300)}") from error
    _train(second, resumed, STEPS)
    for (said, one), other in zip(_values(whole).items(), _values(second).values(), strict=True):
        if not torch.equal(one, other):
            far = float((one - other).abs().max())
            raise FailedError(f"after a resume {said} differs by up to {far:.2g}")


@check(
    OptimizerStep,
    protects="trainer.groups gives layers a learning rate and a weight decay of their own.",
    remedy="Use group['lr'] and group['weight_decay'] in step, not what was given to build.",
    needs=[makes_an_optimizer, trains_all_shapes],
)
def groups_keep_their_own(case: Case) -> None:
    """Groups with a learning rate or a weight decay of their own are trained by it."""
    import torch

    rate = case.step.usual_rate
    own: tuple[Mapping[str, float], ...] = ({}, {"lr": rate / 10}, {"weight_decay": 0.3})
    groups: list[dict[str, Any]] = [{"params": [_parameter((12, 10))], **some} for some in own]
    optimizer = case.step.build([dict(group) for group in groups], rate)
    for group, some in zip(optimizer.param_groups, own, strict=True):
        for name, value in {"lr": rate, **some}.items():
            if name in optimizer.defaults and group.get(name) != value:
                raise FailedError(f"a group's {name} is {group.get(name)}, not {value}")
    start = groups[0]["params"][0].detach().clone()
    for place in range(STEPS):
        for group in groups:
            (parameter,) = group["params"]
            parameter.grad = torch.linspace(0.5, 1.5 + place, 120).reshape(12, 10)
        optimizer.step()
    plain, slow, decayed = (group["params"][0].detach() for group in groups)
    if not (slow - start).norm() < (plain - start).norm():
        raise FailedError("a group with a tenth of the learning rate moves as far as the others")
    if "weight_decay" in optimizer.defaults and torch.equal(plain, decayed):
        raise FailedError("a group with a weight decay of its own is trained as the others")


@check(
    OptimizerStep,
    protects="The learning rate is the first thing that users change.",
    remedy="Hand learning_rate on as lr.",
    needs=[makes_an_optimizer, trains_all_shapes],
)
def uses_the_learning_rate(case: Case) -> None:
    """With a thousandth of its usual rate parameters move much less."""
    rate = case.step.usual_rate
    moved = []
    for some in (rate, rate * LITTLE):
        network = _network(SHAPES)
        before = _values(network)
        _train(network, _optimizer(case, network, some), STEPS)
        moved.append(_moved(before, network))
    usual, little = moved
    if little > FAR * usual:
        raise FailedError(
            f"with a rate of {rate:g} parameters move by {usual:.3g}, and with a thousandth of it "
            f"by {little:.3g}"
        )


@check(
    OptimizerStep,
    protects="Schedules set the learning rate of each group before each step.",
    remedy="Read group['lr'] at each step.",
    needs=[makes_an_optimizer, trains_all_shapes, uses_the_learning_rate],
)
def follows_a_schedule(case: Case) -> None:
    """When the learning rate of its groups falls, parameters move less."""
    import torch

    network = _network(SHAPES)
    optimizer = _optimizer(case, network)
    if isinstance(optimizer, torch.optim.Rprop):
        raise skip("after its first step Rprop has step sizes of its own")
    moved = []
    for place in range(2 * STEPS):
        if place == STEPS:
            for group in optimizer.param_groups:
                group["lr"] *= LITTLE
        before = _values(network)
        _train(network, optimizer, 1)
        moved.append(_moved(before, network))
    # The least of several: what averages now and then may move far for a moment.
    usual, little = max(moved[:STEPS]), min(moved[STEPS:])
    if little > FAR * usual:
        raise FailedError(
            f"parameters move by {usual:.3g} in a step, and still by {little:.3g} with a "
            "thousandth of the learning rate"
        )


@check(
    OptimizerStep,
    protects="Layers that are frozen for some epochs are in the optimizer from the start.",
    remedy="Go on to the next parameter where parameter.grad is None, before weight decay too.",
    needs=[makes_an_optimizer],
)
def leaves_frozen_parameters_alone(case: Case) -> None:
    """Parameters without a gradient stay as they are."""
    import torch

    trained, frozen, unused = (_parameter((12, 10), seed) for seed in range(3))
    frozen.requires_grad_(False)
    before = [one.detach().clone() for one in (frozen, unused)]
    optimizer = case.step.build([{"params": [trained, frozen, unused]}], case.step.usual_rate)
    try:
        for _ in range(STEPS):
            trained.grad = torch.ones_like(trained)
            optimizer.step()
    except Exception as error:
        raise FailedError(
            f"a parameter without a gradient raises {described(error, most=300)}"
        ) from error
    if not all(torch.equal(*pair) for pair in zip(before, (frozen, unused), strict=True)):
        raise FailedError("parameters without a gradient change")


@typical("optimizer", found_by=makes_an_optimizer)
def _use(case: Case) -> Use:
    def call() -> object:
        network = _network(SHAPES)
        _train(network, _optimizer(case, network), STEPS)
        return None

    return Use(given=None, call=call)


def _parameter(shape: Sequence[int], seed: int = 0) -> nn.Parameter:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(torch.randn(tuple(shape), generator=generator))


def _network(shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A module with a parameter for each shape, called by its place."""
    import torch

    network = torch.nn.Module()
    for place, (said, shape) in enumerate(shapes.items()):
        network.register_parameter(said.replace(" ", "_"), _parameter(shape, place))
    return network


def _optimizer(case: Case, network: nn.Module, rate: float | None = None) -> Any:
    rate = case.step.usual_rate if rate is None else rate
    return make_optimizer(case.step, network, learning_rate=rate)


def _train(network: nn.Module, optimizer: Any, steps: int) -> None:
    """Steps on the sum of squared distances from 2."""
    for _ in range(steps):
        optimizer.zero_grad()
        for parameter in network.parameters():
            parameter.grad = parameter.detach() - 2
        optimizer.step()


def _slower(optimizer: Any) -> None:
    """Half of each learning rate, as a schedule sets it."""
    for group in optimizer.param_groups:
        group["lr"] /= 2


def _distance(network: nn.Module) -> float:
    return sum(float((one.detach() - 2).square().sum()) for one in network.parameters())


def _values(network: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name.replace("_", " "): one.detach().clone() for name, one in network.named_parameters()
    }


def _moved(before: Mapping[str, torch.Tensor], network: nn.Module) -> float:
    after = _values(network)
    return sum(float((after[name] - value).abs().sum()) for name, value in before.items())
