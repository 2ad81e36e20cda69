"""Optimizers are torch's, with torch's parameters and defaults."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import attrs
import pytest
import torch

from medpipe.builtin.optimizers import LEFT_OUT, OPTIMIZERS
from medpipe.optimization.optimizers import make_optimizer
from medpipe.optimization.parameter_groups import ParameterGroup

NOT_OURS = {
    "params",
    "lr",
    # How it is computed, which torch chooses.
    "foreach",
    "maximize",
    "capturable",
    "differentiable",
    "fused",
}


def test_every_optimizer_of_torch_is_here_or_left_out_for_a_reason() -> None:
    there = {
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    } - {"Optimizer"}
    here: set[str] = {step.torch_name for step in OPTIMIZERS}  # type: ignore[attr-defined]
    assert here | set(LEFT_OUT) == there
    assert not here & set(LEFT_OUT)


@pytest.mark.parametrize("step", OPTIMIZERS, ids=lambda step: step.name)
def test_parameters_and_defaults_are_torchs(step: Any) -> None:
    torchs = inspect.signature(getattr(torch.optim, step.torch_name)).parameters
    ours = {field.name: field.default for field in attrs.fields(step)}
    of_another = {"decoupled_weight_decay"} if step.name == "adam" else set()  # that is adamw
    assert set(ours) | NOT_OURS >= set(torchs) - {"eps"} - of_another
    for name, default in ours.items():
        assert name in torchs
        assert default == torchs[name].default, name


@pytest.mark.parametrize("step", OPTIMIZERS, ids=lambda step: step.name)
def test_groups_have_their_rates_and_a_state_comes_back(step: Any) -> None:
    def made() -> tuple[Any, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        groups = (ParameterGroup(match="^0", learning_rate=0.01),)
        return network, make_optimizer(step(), network, learning_rate=0.1, groups=groups)

    def steps(network: Any, optimizer: torch.optim.Optimizer, count: int) -> None:
        for seed in range(count):
            inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

    network, optimizer = made()
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])
    before = [parameter.clone() for parameter in network.parameters()]
    steps(network, optimizer, 3)
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    twin, other = made()
    twin.load_state_dict(network.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(network, optimizer, 2)
    steps(twin, other, 2)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
