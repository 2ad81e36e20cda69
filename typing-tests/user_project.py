"""What a user's project writes, as the type checkers see it; checked, and run by the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

import medpipe
from medpipe.plugin import DataInfo, NetworkStep, TransformStep, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from torch import Tensor, nn


@attrs.frozen(kw_only=True)
class TinyCNN(NetworkStep):
    """Three-convolution classifier for quick experiments."""

    name: ClassVar[str] = "tiny_cnn"
    width: int = attrs.field(default=16, validator=attrs.validators.ge(1))

    def build(self, data: DataInfo) -> nn.Module:
        """Make it."""
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, self.width, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * self.width, data.outputs),
        )


@attrs.frozen(kw_only=True)
class Shift(TransformStep):
    """Adds a random number, drawn first and then applied."""

    name: ClassVar[str] = "shift"
    most: float = 0.1

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw it."""
        return {"by": rng.uniform(-self.most, self.most)}

    def apply(self, sample: dict[str, Any], draw: Mapping[str, Any]) -> dict[str, Any]:
        """Add it."""
        return {**sample, "image": sample["image"] + draw["by"]}


@hookimpl
def medpipe_networks() -> Iterable[type[NetworkStep]]:
    """Offer the network."""
    return [TinyCNN]


@hookimpl
def medpipe_transforms() -> Iterable[type[TransformStep]]:
    """Offer the transform."""
    return [Shift]


def loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """A ready loss."""
    from torch.nn import functional

    return functional.cross_entropy(predictions, labels)


def make_network(data: DataInfo) -> nn.Module:
    """A ready network, made for the data."""
    return TinyCNN(width=4).build(data)


def builders() -> list[medpipe.PipelineBuilder]:
    """Every way to put a pipeline together."""
    by_name = (
        medpipe.PipelineBuilder(seed=0, device="cpu")
        .dataset("phantom", samples=120, size=32)
        .transform("rand_flip", prob=0.5)
        .transform(Shift(most=0.2), before="rand_flip")
        .network(TinyCNN(width=8))
        .trainer("supervised", max_epochs=1, loss=medpipe.step("focal", gamma=2.0))
        .loader(batch_size=32, sampling="balanced", workers=0)
        .split(validation=0.2, test=0.2, seed=1)
    )
    ready = by_name.network(make_network).trainer("supervised", max_epochs=1, loss=loss)
    return [by_name, ready]


def registry() -> medpipe.Registry:
    """A registry with this module's steps."""
    import sys

    found = medpipe.Registry.discover().with_plugin(sys.modules[__name__], name="user-project")
    network: type[NetworkStep] = found.get(NetworkStep, "tiny_cnn")
    made: NetworkStep = found.create(NetworkStep, "tiny_cnn", {"width": 2})
    assert isinstance(made, network)
    assert "shift" in found.transforms
    return found


def results(pipeline: medpipe.Pipeline, output: str) -> float:
    """Run it and read what came of it."""
    report: medpipe.CheckReport = pipeline.check()
    report.raise_for_problems()
    run: medpipe.Run = pipeline.run(output=output)
    again = medpipe.Run.load(output)
    network: nn.Module = run.network("best")
    accuracy: float = again.metrics["test"]["accuracy"]
    network.eval()
    return accuracy
