"""Data and look-ups that type checkers must refuse, where ``refused`` stands."""

from __future__ import annotations

from pathlib import Path

import medpipe
from medpipe.plugin import (
    Dataset,
    DecodedImage,
    LabelImage,
    LossStep,
    NetworkStep,
    Reading,
    Sample,
    Series,
    Task,
    read_image,
)


def samples() -> None:
    Sample("a", "a.png", 0)  # refused
    Sample(id="a", image="a.png")  # refused
    Sample(id="a", image=7, label=0)  # refused
    Sample(id="a", image="a.png", label=0, split="train")  # refused
    Sample(id="a", image="a.png", label=0, patient="1")  # refused


def changed_samples(sample: Sample) -> None:
    sample.label = 1  # refused
    sample.extra["age"] = 61  # refused


def datasets(task: Task, sample: Sample) -> None:
    Dataset(samples=[sample])  # refused
    Dataset(samples=sample, task=task)  # refused
    Dataset(samples=["a.png"], task=task)  # refused
    Dataset(samples=[sample], task=task, on_leak="keep")  # refused
    Dataset(samples=[sample], task=("healthy", "ill"))  # refused


def tasks(task: Task) -> None:
    Task(names=2)  # refused
    Task(kind=Task, names=("healthy", "ill"))  # refused
    task.kind = "regression"  # refused


def masks(path: Path) -> None:
    LabelImage(image=path, values={0: (), 255: (0,)})  # refused
    LabelImage(image=path, on_mismatch="crop")  # refused
    LabelImage(path)  # refused


def readings() -> None:
    Reading(channels=2)  # refused
    Reading(window="lung")  # refused
    Reading(frames="all")  # refused
    DecodedImage(values=[[0, 1], [1, 0]])  # refused
    read_image(3)  # refused
    Series(files=3)  # refused


def looked_up(registry: medpipe.Registry) -> LossStep:
    registry.get("densenet121", NetworkStep)  # refused
    registry.get(int, "densenet121")  # refused
    registry.create(NetworkStep, "densenet121", ["width"])  # refused
    return registry.create(NetworkStep, "densenet121")  # refused
