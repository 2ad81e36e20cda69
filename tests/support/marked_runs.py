"""A small run of which a transform does what a test wants at a certain call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from medpipe import Pipeline, PipelineBuilder, Registry, Run
from medpipe.checks.pipeline_check import examine
from medpipe.plugin import DataInfo, NetworkStep, TransformStep, hookimpl
from medpipe.training.checkpoint import load_checkpoint

calls: list[str] = []
at: dict[int, Callable[[], None]] = {}
"""What to do when the marking transform is called for the n-th time."""


@attrs.frozen(kw_only=True)
class Marking(TransformStep):
    """Changes nothing, and does what the test wants at a certain call."""

    name: ClassVar[str] = "marking"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        def mark(sample: dict[str, Any]) -> dict[str, Any]:
            calls.append(sample["id"])
            at.get(len(calls), lambda: None)()
            return sample

        return mark


@attrs.frozen(kw_only=True)
class Dropping(NetworkStep):
    """A small network with batch norm and dropout, which draws from torch's generator."""

    name: ClassVar[str] = "dropping"

    def build(self, data: DataInfo) -> Any:
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(128, data.outputs),
        )


class Plugin:
    @hookimpl
    def medpipe_networks(self) -> list[type[NetworkStep]]:
        return [Dropping]

    @hookimpl
    def medpipe_transforms(self) -> list[type[TransformStep]]:
        return [Marking]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="marking")


def ask(name: str = "SIGUSR1") -> None:
    os.kill(os.getpid(), getattr(signal, name))


def checked(pipeline: Pipeline) -> int:
    """How many calls the check of a run makes; they are made. `Pipeline.check` also tries more."""
    before = len(calls)
    examine(pipeline._assembly(), caching=True)
    return len(calls) - before


def tiny(**trainer: Any) -> PipelineBuilder:
    options = {
        "max_epochs": 3,
        "learning_rate": 3e-3,
        "schedule": {"step": "one_cycle"},
        **trainer,
    }
    return (
        PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("phantom", samples=60, size=32)
        .transform("rand_flip", prob=0.5)
        .transform("rand_gaussian_noise", prob=0.5)
        .transform("marking")
        .network("dropping")
        .trainer("supervised", **options)
        .loader(batch_size=8, workers=0)
        .split(validation=0.2, test=0.2)
    )


def state(run: Run) -> dict[str, Any]:
    """All of a run that must be the same however often it was stopped."""
    states, about = load_checkpoint(run.path / "checkpoints/last.safetensors")
    best, _ = load_checkpoint(run.path / "checkpoints/best.safetensors")
    about["progress"].pop("seconds")
    about.pop("provenance_digests")  # the configurations that are compared differ
    for row in about["history"]:
        row.pop("seconds")
    return {
        "states": plain(states),
        "best": plain(best),
        "about": about,
        "metrics": run.metrics,
        "predictions": (run.path / "predictions_test.csv").read_text(),
        "validation": (run.path / "predictions_validation.csv").read_text(),
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in run.history],
    }


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
