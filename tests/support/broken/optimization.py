"""Optimizers that each fail one check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import OptimizerStep

if TYPE_CHECKING:
    import torch

Groups = Sequence[Mapping[str, Any]]


@attrs.frozen(kw_only=True)
class Sound(OptimizerStep):
    """Gradient descent with momentum.

    Attributes:
        momentum: How much of the last update is kept.
        weight_decay: The strength of the decay of weights.
    """

    name: ClassVar[str] = "sound"
    usual_rate: ClassVar[float] = 1e-2
    momentum: float = 0.9
    weight_decay: float = 0.0

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
        return descent(self, groups, learning_rate)

    def rate(self, optimizer: Any, group: Mapping[str, Any], place: int) -> float:
        return float(group["lr"])

    def decay(self, group: Mapping[str, Any]) -> float:
        return float(group["weight_decay"])

    def passes_over(self, parameter: torch.Tensor) -> bool:
        return parameter.grad is None

    def state(self, optimizer: Any, parameter: torch.Tensor) -> Any:
        return optimizer.state[parameter]

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def descent(step: Sound, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
    import torch

    class Descent(torch.optim.Optimizer):
        def __init__(self) -> None:
            defaults = {"lr": learning_rate, "weight_decay": step.weight_decay}
            super().__init__([dict(group) for group in groups], defaults)
            self.kept: dict[Any, Any] = {}
            self.first = [group["lr"] for group in self.param_groups]

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for place, group in enumerate(self.param_groups):
                rate = step.rate(self, group, place)
                for parameter in group["params"]:
                    if step.passes_over(parameter):
                        continue
                    parameter.mul_(1 - rate * step.decay(group))
                    if parameter.grad is None:
                        continue
                    state = step.state(self, parameter)
                    update = step.direction(parameter.grad)
                    if "average" in state:
                        update = update + step.momentum * state["average"]
                    state["average"] = update.clone()
                    parameter.sub_(update, alpha=rate)

    return Descent()


@attrs.frozen(kw_only=True)
class OneGroup(Sound):
    """All parameters in one group."""

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
        every = [parameter for group in groups for parameter in group["params"]]
        return descent(self, [{"params": every}], learning_rate)


@attrs.frozen(kw_only=True)
class Climbs(Sound):
    """With the gradient, not against it."""

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


@attrs.frozen(kw_only=True)
class NoScalars(Sound):
    """A parameter without dimensions is never trained."""

    def passes_over(self, parameter: torch.Tensor) -> bool:
        return parameter.grad is None or not parameter.ndim


@attrs.frozen(kw_only=True)
class DividesByZero(Sound):
    """The gradient over its size."""

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient / gradient.abs()


@attrs.frozen(kw_only=True)
class OnItself(Sound):
    """Momentum where no state dictionary has it."""

    def state(self, optimizer: Any, parameter: torch.Tensor) -> Any:
        return optimizer.kept.setdefault(parameter, {})


@attrs.frozen(kw_only=True)
class OneDecay(Sound):
    """One weight decay for all groups."""

    def decay(self, group: Mapping[str, Any]) -> float:
        return self.weight_decay


@attrs.frozen(kw_only=True)
class OneRate(Sound):
    """A learning rate of its own."""

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
        return descent(self, groups, self.usual_rate)


@attrs.frozen(kw_only=True)
class FirstRate(Sound):
    """The learning rate of the beginning, for ever."""

    def rate(self, optimizer: Any, group: Mapping[str, Any], place: int) -> float:
        return float(optimizer.first[place])


@attrs.frozen(kw_only=True)
class DecaysAll(Sound):
    """Weight decay for frozen parameters too."""

    def passes_over(self, parameter: torch.Tensor) -> bool:
        return False


@attrs.frozen(kw_only=True)
class LooksAhead(OptimizerStep):
    """Adam, whose weights go half way back to where they were, every fifth step.

    Attributes:
        every: Steps between two ways back.
    """

    name: ClassVar[str] = "looks_ahead"
    every: int = attrs.field()

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
        import torch

        every = self.every

        class Ahead(torch.optim.Adam):
            @torch.no_grad()
            def step(self, closure: Any = None) -> Any:  # type: ignore[override]
                found = super().step(closure)
                for group in self.param_groups:
                    group["done"] = group.get("done", 0) + 1
                    for parameter in group["params"]:
                        if parameter.grad is None:
                            continue
                        slow = self.state[parameter].setdefault("slow", parameter.clone())
                        if group["done"] % every == 0:
                            parameter.copy_(slow.lerp_(parameter, 0.5))
                return found

        return Ahead([dict(group) for group in groups], lr=learning_rate)


BROKEN: dict[str, Any] = {
    "makes_an_optimizer": OneGroup(),
    "lowers_a_loss": Climbs(),
    "trains_all_shapes": NoScalars(),
    "stays_finite": DividesByZero(),
    "resumes_exactly": OnItself(),
    "groups_keep_their_own": OneDecay(weight_decay=0.1),
    "uses_the_learning_rate": OneRate(),
    "follows_a_schedule": FirstRate(),
    "leaves_frozen_parameters_alone": DecaysAll(weight_decay=0.1),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), Sound(momentum=0.5, weight_decay=0.1), LooksAhead(every=5)]
"""Steps that fail none."""
