"""A small network, batches and a training of the trainer `supervised` on them."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import nn

from medpipe import Registry
from medpipe.builtin.trainers.supervised import Supervised
from medpipe.plugin import DataInfo, Task, Training, TrainingParts

BATCHES = 4


class Net(nn.Module):
    """A backbone with batch norm, and a head."""

    def __init__(self, dims: int = 2, outputs: int = 3, affine: bool = True) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.features = nn.Sequential(convolution(1, 4, 3), norm(4, affine=affine), nn.ReLU())
        self.later = nn.Sequential(convolution(4, 4, 3), norm(4), nn.ReLU())
        self.head = nn.Linear(4, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.later(self.features(image)).flatten(2).mean(2))
        return output


def net(dims: int = 2, **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(dims, **options)


def batches(dims: int = 2) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.rand(6, 1, *[8] * dims, generator=generator),
            "label": torch.randint(0, 3, (6,), generator=generator),
        }
        for _ in range(BATCHES)
    ]


def parts(network: nn.Module, dims: int = 2) -> TrainingParts:
    loader: Any = batches(dims)
    return TrainingParts(
        network=network,
        loss=nn.CrossEntropyLoss(),
        loader=loader,
        device=torch.device("cpu"),
        precision="float32",
        data=DataInfo(
            task=Task(names=("a", "b", "c")),
            channels=1,
            spatial_shape=(8,) * dims,
            spatial_dims=dims,
            outputs=3,
        ),
        max_epochs=3,
    )


def made(network: nn.Module, dims: int = 2, **parameters: Any) -> Training:
    trainer = Registry.discover().create(
        Supervised, "supervised", {"learning_rate": 0.01, "schedule": "constant", **parameters}
    )
    found = parts(network, dims)
    epochs = parameters.get("max_epochs", 3)
    return trainer.build(attrs.evolve(found, max_epochs=epochs))


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
