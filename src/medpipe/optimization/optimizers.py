"""Make an optimizer for a network's parameter groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.optimization.parameter_groups import divide

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medpipe.optimization.parameter_groups import ParameterGroup
    from medpipe.steps import OptimizerStep


def make_optimizer(
    step: OptimizerStep,
    network: torch.nn.Module,
    *,
    learning_rate: float,
    groups: Sequence[ParameterGroup] = (),
) -> torch.optim.Optimizer:
    """Make an optimizer with a group for the trainer's own parameters and one for each of `groups`.

    What is frozen for some epochs is in it from the start, so that its state has one form; what is
    frozen for all is not.

    Args:
        step: The optimizer step.
        network: Its parameters are trained.
        learning_rate: Of the parameters without one of their own.
        groups: Parameters that are trained in a way of their own, or frozen.

    Raises:
        DataError: A group fits no parameter, or nothing is left to train.
    """
    owner = divide(network, groups)
    members: dict[int | None, list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        index = owner[name]
        if parameter.requires_grad and (index is None or not groups[index].freeze):
            members.setdefault(index, []).append(parameter)
    made = step.build(
        [
            {"params": members[index], **({} if index is None else _own(groups[index]))}
            for index in (None, *range(len(groups)))
            if index in members
        ],
        learning_rate,
    )
    _keep_layout(made)
    return made


def _own(group: ParameterGroup) -> dict[str, float]:
    """What a group of the optimizer has of its own."""
    own = {"lr": group.learning_rate, "weight_decay": group.weight_decay}
    return {name: value for name, value in own.items() if value is not None}


def _keep_layout(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer's state and gradients lie in memory as their parameters do.

    A fused optimizer walks through parameter, gradient and state side by side without a look at
    their order: what a checkpoint has in another order would be applied to the wrong weights,
    without an error.
    """
    fused = [group.get("fused") for group in optimizer.param_groups]

    def before_load(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        # Whether to fuse is this machine's choice, not that of the one that wrote the state.
        groups = [
            {**group, "fused": own, "foreach": None} if "fused" in group else group
            for group, own in zip(state["param_groups"], fused, strict=False)
        ]
        if len(groups) != len(state["param_groups"]):
            return state  # torch says what is wrong
        return {**state, "param_groups": groups}

    def after_load(loaded: torch.optim.Optimizer) -> None:
        for parameter, values in loaded.state.items():
            for name, value in values.items():
                values[name] = _laid_as(value, parameter)

    def before_step(stepping: torch.optim.Optimizer, *_: Any) -> None:
        for group in stepping.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                    parameter.grad = _laid_as(parameter.grad, parameter)

    optimizer.register_load_state_dict_pre_hook(before_load)
    optimizer.register_load_state_dict_post_hook(after_load)
    optimizer.register_step_pre_hook(before_step)


def _laid_as(value: Any, parameter: torch.Tensor) -> Any:
    import torch

    if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
        return value
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
