"""`TrainingParts.inferer`: MONAI's inferer in the precision of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pytest
import torch
from monai.engines.trainer import SupervisedTrainer
from monai.inferers.inferer import SimpleInferer
from torch import nn

from support.trainings import net, parts


class Two(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda one: one,
    "list": lambda one: [one, one * 2],
    "tuple": lambda one: (one, one * 2),
    "named": lambda one: Two(one, one * 2),
    "dict": lambda one: {"out": one, "deeper": [one * 2]},
}


class Formed(nn.Module):
    def __init__(self, form: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.network, self.form = net(), form

    def forward(self, image: torch.Tensor) -> Any:
        return self.form(self.network(image))


def tensors(given: Any) -> list[torch.Tensor]:
    if isinstance(given, torch.Tensor):
        return [given]
    held = given.values() if isinstance(given, dict) else given
    return [tensor for one in held for tensor in tensors(one)]


@pytest.mark.parametrize("name", FORMS)
def test_outputs_of_every_form_are_computed_in_bfloat16_and_given_in_float32(name: str) -> None:
    network, image = Formed(FORMS[name]), torch.rand(2, 1, 8, 8)
    given = attrs.evolve(parts(network), precision="bfloat16").inferer()(image, network)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(image)
    assert type(given) is type(expected)
    assert len(tensors(given)) == len(tensors(expected))
    for one, other in zip(tensors(given), tensors(expected), strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.bfloat16)
        assert torch.equal(one, other.float())


def test_what_is_no_output_in_bfloat16_stays_what_it_is() -> None:
    given: list[Any] = [torch.tensor([1]), torch.tensor([1.0], dtype=torch.float64), "note", None]
    network: Any = lambda _: given  # noqa: E731
    assert attrs.evolve(parts(net()), precision="bfloat16").inferer()(torch.ones(1), network) == [
        *given
    ]


def test_in_float32_it_is_monais_own() -> None:
    assert type(parts(net()).inferer()) is SimpleInferer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_monais_trainer_trains_a_network_of_several_outputs(precision: Any) -> None:
    network = Formed(FORMS["list"])
    found = attrs.evolve(parts(network), precision=precision)
    seen: list[torch.dtype] = []

    def loss(outputs: list[torch.Tensor], labels: torch.Tensor) -> Any:
        seen.extend(one.dtype for one in outputs)
        return sum(found.loss(one, labels) for one in outputs)

    SupervisedTrainer(
        device=found.device,
        max_epochs=1,
        train_data_loader=found.loader,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        inferer=found.inferer(),
        decollate=False,
    ).run()
    assert set(seen) == {torch.float32}
