"""A small run of which the network and the transform do what a test wants at a certain pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from medpipe import PipelineBuilder, Registry
from medpipe.plugin import DataInfo, NetworkStep, TransformStep, hookimpl

passes: dict[str, list[Any]] = {"training": [], "evaluation": []}
at: dict[tuple[str, int], Callable[[], Any]] = {}
"""What the network does in its n-th pass of a kind."""
in_worker: list[Callable[[dict[str, Any]], Any]] = []
"""What the transform does with a sample in a worker process."""


@attrs.frozen(kw_only=True)
class Acting(TransformStep):
    """Does what the test wants in worker processes."""

    name: ClassVar[str] = "acting"

    def build(self) -> Callable[[dict[str, Any]], Any]:
        from torch.utils.data import get_worker_info

        def act(sample: dict[str, Any]) -> dict[str, Any]:
            if get_worker_info() is not None:
                for do in in_worker:
                    sample = do(sample) or sample
            return sample

        return act


@attrs.frozen(kw_only=True)
class Counting(NetworkStep):
    """A small network that counts its passes."""

    name: ClassVar[str] = "counting"

    def build(self, data: DataInfo) -> Any:
        from torch import nn

        class Net(nn.Sequential):
            def forward(self, image: Any) -> Any:
                if image.device.type != "meta":
                    kind = "training" if self.training else "evaluation"
                    passes[kind].append(None)
                    at.get((kind, len(passes[kind])), lambda: None)()
                return super().forward(image)

        front = (nn.Conv2d(data.channels, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        return Net(*front, nn.Flatten(), nn.Linear(16, data.outputs))


class Plugin:
    @hookimpl
    def medpipe_networks(self) -> list[type[NetworkStep]]:
        return [Counting]

    @hookimpl
    def medpipe_transforms(self) -> list[type[TransformStep]]:
        return [Acting]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="limits")


def tiny(*, workers: int = 0, **trainer: Any) -> PipelineBuilder:
    """36 training samples in 5 batches, 12 validation and 12 test samples in 2 batches each."""
    return (
        PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("phantom", samples=60, size=32)
        .transform("acting")
        .network("counting")
        .trainer("supervised", **{"max_epochs": 2, "learning_rate": 3e-3, **trainer})
        .loader(batch_size=8, workers=workers)
        .split(validation=0.2, test=0.2)
    )
