"""The small but real runs that are disturbed, and what must be the same in the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import attrs

from medpipe import PipelineBuilder, Registry, Run
from medpipe.builtin.trainers.supervised import Supervised
from medpipe.plugin import (
    DataInfo,
    HandlerStep,
    NetworkStep,
    RunContext,
    RunEvent,
    TrainerStep,
    Training,
    TrainingParts,
    hookimpl,
)
from medpipe.training.checkpoint import load_checkpoint

reached: list[Callable[[str], None]] = []
"""What hears of each boundary between two steps of the training."""


@attrs.frozen(kw_only=True)
class Watched(Supervised):
    """The built-in trainer, which says when a step begins and ends."""

    name: ClassVar[str] = "watched"

    def build(self, parts: TrainingParts) -> Training:
        from ignite.engine import Events

        training = super().build(parts)
        for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
            training.engine.add_event_handler(event, _say, str(event.value))
        return training


def _say(_: object, name: str) -> None:
    for hear in reached:
        hear(f"step {name}")


@attrs.frozen(kw_only=True)
class Dropping(NetworkStep):
    """A small network with batch norm and dropout, which draws from torch's generator."""

    name: ClassVar[str] = "dropping"

    def build(self, data: DataInfo) -> Any:
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16, data.outputs),
        )


@attrs.frozen(kw_only=True)
class Tally(HandlerStep):
    """Counts the events that it hears, and says each."""

    name: ClassVar[str] = "tally"

    def attach(self, engine: Any, context: RunContext) -> object:
        from ignite.engine import Events

        heard = Heard()
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: heard.hear("iteration"))
        for event in get_args(RunEvent):
            context.on(event, lambda *_, event=event: heard.hear(event))
        return heard


class Heard:
    """How often each event was heard; one that comes after a checkpoint is not in it."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def hear(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        _say(None, event)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": {key: self.counts.get(key, 0) for key in ("iteration",)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = dict(state["counts"])


class Plugin:
    @hookimpl
    def medpipe_handlers(self) -> list[type[HandlerStep]]:
        return [Tally]

    @hookimpl
    def medpipe_networks(self) -> list[type[NetworkStep]]:
        return [Dropping]

    @hookimpl
    def medpipe_trainers(self) -> list[type[TrainerStep]]:
        return [Watched]


def pipelines(images: Path) -> dict[str, PipelineBuilder]:
    """The runs by name.

    Args:
        images: A folder of classes with images.
    """
    registry = Registry.discover().with_plugin(Plugin(), name="faults")

    def tiny(*, minutes: float = 10.0, **trainer: Any) -> PipelineBuilder:
        return (
            PipelineBuilder(device="cpu", checkpoint_minutes=minutes, registry=registry)
            .dataset("image_folder", root=images, channels=1)
            .network("dropping")
            .trainer("watched", **{"max_epochs": 2, "learning_rate": 3e-3, **trainer})
            .loader(batch_size=8, workers=0)
            .split(validation=0.2, test=0.2)
        )

    one_cycle = {"schedule": {"step": "one_cycle"}}
    return {
        "plain": tiny(),
        "augmented": tiny(**one_cycle, max_epochs=3)
        .transform("rand_flip", prob=0.5)
        .transform("rand_gaussian_noise", prob=0.5),
        "accumulated": tiny(accumulation=2, minutes=0).transform("rand_flip", prob=0.5),
        "autocast": tiny(precision="bfloat16", patience=1, max_epochs=4),
        "without cache": tiny(optimizer={"step": "sgd", "momentum": 0.9}).loader(
            batch_size=8, workers=0, cache="off"
        ),
        "two workers": tiny(minutes=0)
        .transform("rand_flip", prob=0.5)
        .loader(batch_size=8, workers=2),
        "segmentation": tiny(minutes=0)
        .dataset("image_masks", root=pairs(images.parent / "pairs"), labels={"disc": 255})
        .transform("augment")
        .network("unet", channels=(4, 8), strides=(2,)),
        "handlers": tiny(minutes=0).handlers("tally", "ema", "csv"),
        "densenet": tiny()
        .network("densenet121")
        .transform("rand_flip", prob=0.5)
        .loader(batch_size=32, workers=0),
    }


def pairs(root: Path, count: int = 40) -> Path:
    """A folder of images of a disc, and of their masks."""
    import numpy as np
    from PIL import Image

    down, right = np.mgrid[:32, :32]
    for number in range(count):
        generator = np.random.default_rng(number)
        row, column = generator.integers(10, 22, 2)
        mask = 255 * ((down - row) ** 2 + (right - column) ** 2 < 64).astype(np.uint8)
        image = (mask // 2 + generator.integers(0, 64, mask.shape)).astype(np.uint8)
        for folder, values in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{number:03d}.png")
    return root


def digest(run: Run) -> str:
    """The SHA-256 of everything that a run came to, but for times."""
    parts: dict[str, Any] = {"metrics": run.metrics, "best": run.record["best_epoch"]}
    for which in ("last", "best"):
        states, about = load_checkpoint(run.path / f"checkpoints/{which}.safetensors")
        about.pop("provenance_digests", None)
        parts[which] = (_plain(states), _untimed(about))
    average, table = run.path / "ema.safetensors", "iterations.csv"
    if average.exists():
        parts["ema"] = _plain(load_checkpoint(average)[0])
    names = ["splits.csv", "predictions_validation.csv", "predictions_test.csv"]
    for name in [*names, table] if (run.path / table).exists() else names:
        parts[name] = hashlib.sha256((run.path / name).read_bytes()).hexdigest()
    parts["history"] = _untimed(run.history)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _untimed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _untimed(item) for key, item in value.items() if key != "seconds"}
    return list(map(_untimed, value)) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        content = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = f"{value.dtype} {tuple(value.shape)}"
        return hashlib.sha256(kind.encode() + content).hexdigest()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value
