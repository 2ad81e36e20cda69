"""The head of a regression: values in units, the module as it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medpipe.errors import StepError
from medpipe.steps import DataInfo, Task
from medpipe.tasks.head import BUFFERS


def data(
    means: tuple[float, ...] | None = (50.0, -3.0),
    spreads: tuple[float, ...] | None = (10.0, 0.5),
    kind: str = "regression",
) -> DataInfo:
    return DataInfo(
        task=Task(kind=kind, names=("age", "score")),
        channels=1,
        spatial_shape=(4, 4),
        spatial_dims=2,
        outputs=2,
        statistics={"target_means": means, "target_spreads": spreads} if means else {},
    )


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.last(image.flatten(1))
        return output


def finished(network: nn.Module, info: DataInfo) -> nn.Module:
    return info.task.step.finish(network, info.statistics)


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def in_units(raw: torch.Tensor) -> torch.Tensor:
    return raw * torch.tensor([10.0, 0.5]) + torch.tensor([50.0, -3.0])


def test_outputs_are_in_the_unit_of_the_targets_and_the_module_is_the_same() -> None:
    network = Small()
    before, raw = set(network.state_dict()), network(images())
    assert finished(network, data()) is network
    assert type(network) is Small
    assert set(network.state_dict()) == before | set(BUFFERS)
    assert torch.equal(network(images()), in_units(raw))
    assert [buffer.dtype for buffer in network.buffers()] == [torch.float32] * 2
    assert [tuple(buffer.shape) for buffer in network.buffers()] == [(2,)] * 2
    assert not any(buffer.requires_grad for buffer in network.buffers())


@pytest.mark.parametrize(
    "info",
    [data(kind="multilabel"), data(kind="multiclass"), data(means=None)],
)
def test_other_tasks_and_unknown_statistics_change_nothing(info: DataInfo) -> None:
    network = Small()
    raw, before = network(images()), set(network.state_dict())
    assert finished(network, info) is network
    assert torch.equal(network(images()), raw)
    assert set(network.state_dict()) == before


@given(times=st.integers(1, 4))
@settings(max_examples=4, deadline=None)
def test_done_twice_it_is_as_if_done_once(times: int) -> None:
    network = Small()
    raw = network(images())
    for _ in range(times):
        finished(network, data())
    assert torch.equal(network(images()), in_units(raw))


def test_other_statistics_take_the_place_of_the_former() -> None:
    network = Small()
    raw = network(images())
    finished(finished(network, data()), data(means=(0.0, 0.0), spreads=(2.0, 2.0)))
    assert torch.equal(network(images()), 2 * raw)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))]
)
def test_copies_answer_in_units_on_their_own(copied: Any) -> None:
    network = finished(Small(), data())
    expected = network(images())
    twin = copied(network)
    assert torch.equal(twin(images()), expected)
    finished(twin, data(means=(0.0, 0.0)))
    assert torch.equal(network(images()), expected)


def test_a_state_dictionary_brings_the_statistics() -> None:
    network = finished(Small(), data())
    other = finished(Small(), data(means=(0.0, 0.0), spreads=(1.0, 1.0)))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images()), network(images()))


def test_autocast_gives_float32_values() -> None:
    network = finished(Small(), data())
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images())
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, network(images()), rtol=0, atol=0.3)
    assert not torch.equal(output, output.bfloat16().float())


def test_a_network_in_half_precision_answers_in_float32() -> None:
    network = finished(Small(), data()).bfloat16()
    assert network(images().bfloat16()).dtype == torch.float32


def test_it_works_without_memory() -> None:
    with torch.device("meta"):
        network = finished(Small(), data())
    output = network(torch.empty(5, 1, 4, 4, device="meta"))
    assert output.shape == (5, 2)
    assert all(tensor.device.type == "meta" for tensor in network.state_dict().values())
    later = finished(Small().to("meta"), data())
    assert later(torch.empty(5, 1, 4, 4, device="meta")).shape == (5, 2)


def test_gradients_pass_through_the_unit() -> None:
    network = finished(Small(), data())
    network(images()).sum().backward()
    gradient = network.get_submodule("last").bias.grad
    torch.testing.assert_close(gradient, 3 * torch.tensor([10.0, 0.5]))


def test_an_exported_program_keeps_the_unit() -> None:
    network = finished(Small(), data()).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (images(),), dynamic_shapes={"image": {0: batch}})
    torch.testing.assert_close(program.module()(images(7)), network(images(7)))


def test_an_output_that_is_no_tensor_is_left_to_the_check() -> None:
    class Two(Small):
        def forward(self, image: torch.Tensor) -> Any:
            return super().forward(image), None

    assert isinstance(finished(Two(), data())(images()), tuple)


def test_a_network_with_such_a_name_of_its_own_is_refused() -> None:
    network = Small()
    network.register_buffer("target_mean", torch.zeros(2))
    with pytest.raises(StepError) as caught:
        finished(network, data())
    assert str(caught.value) == (
        "The network Small has an attribute 'target_mean' of its own, which medpipe needs for the "
        "unit of a regression's targets. Rename it."
    )
