"""Accumulated gradients of uneven batches are those of one batch; a stop in between keeps them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from medpipe.builtin.losses import L1, MSE, BCEWithLogits, CrossEntropy, Focal, Huber
from medpipe.builtin.optimizers import OPTIMIZERS
from medpipe.optimization.accumulation import Accumulation
from medpipe.optimization.schedules import Steps
from medpipe.plugin import DataInfo, LossStep, OptimizerStep, Task, TrainerStep, TrainingParts
from medpipe.registry.registry import Registry

REGISTRY = Registry.discover()
LOSSES: dict[str, tuple[str, LossStep]] = {
    "cross_entropy": ("multiclass", CrossEntropy()),
    "weighted": ("multiclass", CrossEntropy(class_weights=(0.2, 3.0, 1.0))),
    "smoothed": ("multiclass", CrossEntropy(class_weights=(0.2, 3.0, 1.0), label_smoothing=0.1)),
    "focal": ("multiclass", Focal()),
    "focal of findings": ("multilabel", Focal(alpha=0.3)),
    "bce": ("multilabel", BCEWithLogits(pos_weight=(1.0, 5.0, 0.5))),
    "l1": ("regression", L1()),
    "mse": ("regression", MSE()),
    "huber": ("regression", Huber()),
}
SIZES = (5, 2, 1, 4, 3)  # with three to a step, the last step of an epoch has two


def labels_of(kind: str, count: int, generator: torch.Generator) -> torch.Tensor:
    if kind == "multiclass":
        return torch.randint(0, 3, (count,), generator=generator)
    values = torch.rand(count, 3, generator=generator)
    values = (values > 0.5).float() if kind == "multilabel" else values
    missing = torch.rand(count, 3, generator=generator) < 0.4
    return torch.where(missing, torch.full_like(values, math.nan), values)


def batches(kind: str, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(sum(SIZES), 4, generator=generator)
    labels = labels_of(kind, sum(SIZES), generator)
    parts = zip(images.split(list(sizes)), labels.split(list(sizes)), strict=True)
    return [{"image": image, "label": label, "id": ["x"] * len(image)} for image, label in parts]


def trained(kind: str, step: LossStep, sizes: tuple[int, ...], **settings: Any) -> list[Any]:
    task = Task(kind=kind, names=("a", "b", "c"))
    data = DataInfo(task=task, channels=1, spatial_shape=(4,), spatial_dims=1, outputs=3)
    torch.manual_seed(1)
    network = nn.Linear(4, 3)
    loss = step.build(data)
    trainer = REGISTRY.create(
        TrainerStep,
        "supervised",
        {
            "max_epochs": 2,
            "learning_rate": 0.3,
            "optimizer": "sgd",
            "schedule": "constant",
            **settings,
        },
    )
    own = getattr(loss, "denominator", None)
    training = trainer.build(
        TrainingParts(
            network=network,
            loss=loss,
            loader=batches(kind, sizes),  # type: ignore[arg-type]
            device=torch.device("cpu"),
            precision="float32",
            data=data,
            max_epochs=2,
            denominator=own or (lambda labels: torch.tensor(float(len(labels)))),
        )
    )
    training.engine.run()
    return list(network.parameters())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_uneven_batches_count_as_one(name: str, clip: float | None) -> None:
    kind, step = LOSSES[name]
    settings = {} if clip is None else {"gradient_clip": clip}
    whole = trained(kind, step, (SIZES[0] + SIZES[1] + SIZES[2], SIZES[3] + SIZES[4]), **settings)
    parts = trained(kind, step, SIZES, accumulation=3, **settings)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda step: step.name)
def test_uneven_batches_count_as_one_for_every_optimizer(
    optimizer: type[OptimizerStep],
) -> None:
    """With a group of its own rate and clipped gradients; what adapts magnifies rounding."""
    kind, step = LOSSES["weighted"]
    settings = {
        "optimizer": optimizer.name,
        "learning_rate": max(optimizer.usual_rate, 0.01),
        "gradient_clip": 0.05,
        "parameters": [{"match": "bias", "learning_rate": optimizer.usual_rate / 5}],
    }
    whole = trained(kind, step, (SIZES[0] + SIZES[1] + SIZES[2], SIZES[3] + SIZES[4]), **settings)
    parts = trained(kind, step, SIZES, accumulation=3, **settings)
    plain = trained(kind, step, SIZES, **settings)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
    assert any((one - other).abs().max() > 2e-4 for one, other in zip(whole, plain, strict=True))


def test_a_mean_of_means_is_something_else() -> None:
    """What the above would be without the denominators."""
    kind, step = LOSSES["weighted"]
    whole = trained(kind, step, (8, 7))
    torch.manual_seed(1)
    network = nn.Linear(4, 3)
    loss = step.build(
        DataInfo(
            task=Task(names=("a", "b", "c")),
            channels=1,
            spatial_shape=(4,),
            spatial_dims=1,
            outputs=3,
        )
    )
    for _ in range(2):
        for group in ((0, 3), (3, 5)):
            network.zero_grad()
            some = batches(kind, SIZES)[group[0] : group[1]]
            for batch in some:
                (loss(network(batch["image"]), batch["label"]) / len(some)).backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.3 * parameter.grad
    assert not torch.allclose(network.weight, whole[0], rtol=0, atol=1e-4)


def test_the_sum_of_a_step_that_has_begun_is_kept() -> None:
    network = nn.Linear(2, 1)
    made = [
        Accumulation(
            lambda labels: torch.tensor(float(len(labels))),
            network,
            Steps(max_epochs=1, epoch_length=4, accumulation=4),
        )
        for _ in range(2)
    ]
    loss = made[0].weighed(lambda predictions, labels: predictions.mean())
    value = loss(torch.tensor([1.0, 2.0], requires_grad=True), torch.zeros(2))
    assert float(value.detach()) == 1.5
    assert made[0].state_dict() == {"total": 2.0}
    made[1].load_state_dict(made[0].state_dict())
    assert made[1].state_dict() == {"total": 2.0}
