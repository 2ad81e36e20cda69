"""A small run of which one process does what a test wants: ``python -m support.several JSON``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from medpipe import OtherProcessError, PipelineBuilder, Registry
from medpipe.plugin import (
    DataInfo,
    Dataset,
    DatasetStep,
    NetworkStep,
    Sample,
    Task,
    TransformStep,
    hookimpl,
)
from medpipe.system.place import place

SIZE = 12
ACTED = "MEDPIPE_TESTS_ACTED"
"""The environment variable that names a file to touch when a process acts."""


@attrs.frozen(kw_only=True)
class Noise(DatasetStep):
    """Arrays of noise, of which a label depends on the mean; every fifth label is missing."""

    name: ClassVar[str] = "noise"
    task: str = "multiclass"
    samples: int = 101
    """Of these an uneven number is in each split."""

    def build(self) -> Dataset:
        import numpy as np

        generator = np.random.default_rng(5)
        names = {"multiclass": ("a", "b", "c"), "multilabel": ("x", "y"), "regression": ("z",)}
        samples = []
        for number in range(self.samples):
            level = generator.uniform(0, 1)
            image = (generator.normal(level, 0.3, (SIZE, SIZE)) * 100).astype(np.float32)
            missing = number % 5 == 0
            label: Any = min(int(level * 3), 2)
            if self.task == "multilabel":
                label = (float("nan") if missing else float(level > 0.7), float(level < 0.4))
            elif self.task == "regression":
                label = (level,)
            samples.append(Sample(id=f"{number:04d}", image=image, label=label))
        return Dataset(samples=tuple(samples), task=Task(kind=self.task, names=names[self.task]))


@attrs.frozen(kw_only=True)
class Acting(TransformStep):
    """Changes nothing; in one process it does something when it is called for the n-th time."""

    name: ClassVar[str] = "acting"
    rank: int = -1
    call: int = -1
    action: str = ""

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        calls = 0

        def act(sample: dict[str, Any]) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            if self.rank == place().rank and calls == self.call:
                if acted := os.environ.get(ACTED):
                    Path(acted).touch()
                return ACTIONS[self.action](sample)
            return sample

        return act


def _raise(sample: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("the detector is broken")


def _kill(sample: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return sample


def _stop(sample: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGTERM)
    return sample


def _spoil(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "image": sample["image"] * float("nan")}


broken = False
"""Whether the next backward pass of this process fails."""


def _break(sample: dict[str, Any]) -> dict[str, Any]:
    global broken
    broken = True
    return sample


def _break_backward(_network: Any, _images: Any, scores: Any) -> None:
    def fail(gradient: Any) -> None:
        raise RuntimeError("the backward pass is broken")

    if broken and scores.requires_grad:
        scores.register_hook(fail)


ACTIONS = {
    "raise": _raise,
    "break": _break,
    "kill": _kill,
    "lose": _kill,
    "stop": _stop,
    "spoil": _spoil,
}
"""In a worker process ``lose`` kills the worker."""


@attrs.frozen(kw_only=True)
class Small(NetworkStep):
    """A small network, with batch norm and dropout where that is asked for."""

    name: ClassVar[str] = "small"
    normal: bool = False
    unused: bool = False

    def build(self, data: DataInfo) -> Any:
        from torch import nn

        layers = [
            nn.Conv2d(data.channels, 8, 3, stride=2),
            *([nn.BatchNorm2d(8)] if self.normal else []),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            *([nn.Dropout(0.3)] if self.normal else []),
            nn.Linear(32, data.outputs),
        ]
        network = nn.Sequential(*layers)
        network.register_forward_hook(_break_backward)
        if self.unused:
            network.register_parameter("unused", nn.Parameter(layers[0].weight.detach().clone()))
        return network


class Plugin:
    @hookimpl
    def medpipe_datasets(self) -> list[type[DatasetStep]]:
        return [Noise]

    @hookimpl
    def medpipe_networks(self) -> list[type[NetworkStep]]:
        return [Small]

    @hookimpl
    def medpipe_transforms(self) -> list[type[TransformStep]]:
        return [Acting]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="several")


def builder(
    *,
    task: str = "multiclass",
    network: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    loader: dict[str, Any] | None = None,
    act: dict[str, Any] | None = None,
    samples: int = 101,
    minutes: float = 10,
) -> PipelineBuilder:
    """The run: uneven batches of 8, plain gradient descent."""
    options = {
        "max_epochs": 1,
        "learning_rate": 0.05,
        "optimizer": {"step": "sgd"},
        "schedule": {"step": "constant"},
        **(trainer or {}),
    }
    return (
        PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("noise", task=task, samples=samples)
        .transforms("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
        .transform("rand_flip", prob=0.5)
        .transform("acting", **(act or {}))
        .network("small", **(network or {}))
        .trainer("supervised", **options)
        .loader(**{"batch_size": 8, "workers": 0, "sampling": "shuffled", **(loader or {})})
        .split(validation=0.2, test=0.2)
        .settings(checkpoint_minutes=minutes)
    )


def main(given: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Run it, or several; a process that ends with another says nothing."""
    if isinstance(given, list):
        for one in given:
            main(one)
        return
    run = {name: given.pop(name) for name in ("output", "resume", "allow_changed") if name in given}
    try:
        done = builder(**given).build().run(**run)
    except OtherProcessError:
        sys.exit(2)
    if place().leads:
        sys.stdout.write(json.dumps({"status": done.status, "path": str(done.path)}) + "\n")
    if done.status != "finished":
        sys.exit(75)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
