"""Steps that type checkers must refuse, where ``refused`` stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import ge
from use_steps import Invert, TinyCNN

from medpipe.plugin import (
    DataInfo,
    Dataset,
    DatasetStep,
    ExportParts,
    ExportStep,
    HandlerStep,
    Loss,
    LossStep,
    MetricStep,
    NetworkStep,
    ReaderStep,
    ReportSection,
    ReportTable,
    RunContext,
    RunFacts,
    ScheduleStep,
    TrackerStep,
    TrainerStep,
    Training,
    TrainingParts,
    TransformStep,
    hookimpl,
    resolved,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from ignite.engine import Engine
    from torch import nn


@attrs.frozen(kw_only=True)
class Named(NetworkStep):
    name: ClassVar[str] = 3  # refused
    width: int = "16"  # refused
    depth: int = attrs.field(default="auto", validator=ge(1))  # refused

    def build(self, data: DataInfo) -> nn.Module:
        return data.outputs  # refused


@attrs.frozen(kw_only=True)
class OfNothing(NetworkStep):
    def build(self) -> nn.Module:  # refused
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Folder(DatasetStep):
    def build(self) -> list[Dataset]:  # refused
        return []


@attrs.frozen(kw_only=True)
class Swapped(TransformStep):
    def apply(self, draw: Mapping[str, Any], sample: dict[str, Any]) -> dict[str, Any]:  # refused
        return sample

    def draw(self, rng: int) -> Mapping[str, Any]:  # refused
        return {"by": rng}


@attrs.frozen(kw_only=True)
class OneBatch(TransformStep):
    def draw(self, rng: np.random.Generator) -> Mapping[str, float]:
        return rng.uniform()  # refused

    def apply_batch(self, batch: dict[str, Any]) -> Mapping[str, Any]:  # refused
        return batch


@attrs.frozen(kw_only=True)
class OfOne(LossStep):
    def build(self, data: DataInfo) -> Loss:
        def loss(predictions: torch.Tensor) -> torch.Tensor:
            return predictions.mean()

        return loss  # refused


@attrs.frozen(kw_only=True)
class Late(ScheduleStep):
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "steps"  # refused

    def factor(self, done: int, total: int) -> float:  # refused
        return done / total


@attrs.frozen(kw_only=True)
class Stateless(TrainerStep):
    def build(self, parts: TrainingParts) -> Training:
        parts.epochs  # refused
        parts.network = parts.network  # refused
        return Training(state={})  # refused


@attrs.frozen(kw_only=True)
class Higher(MetricStep):
    direction: ClassVar[Literal["max", "min"]] = "higher"  # refused

    def rows(self, scores: float, labels: float) -> float:  # refused
        return scores - labels


@attrs.frozen(kw_only=True)
class Misheard(HandlerStep):
    def attach(self, engine: Engine, context: RunContext) -> None:
        context.on("epoch_completed", print)  # refused
        context.on("run_completed")  # refused
        context.write_text("notes.txt")  # refused
        context.write_text("notes.txt", 3)  # refused

    def report_sections(self, context: RunContext) -> Sequence[ReportSection]:  # refused
        return [
            ReportSection("Notes"),  # refused
            ReportSection(title="Notes", tables=[["a", 1]]),  # refused
            ReportSection(title="Notes", tables=[ReportTable(columns=("a", "b"))]),  # refused
        ]


@attrs.frozen(kw_only=True)
class Nowhere(TrackerStep):
    def open(self, facts: RunFacts) -> str:  # refused
        return facts.ids  # refused


@attrs.frozen(kw_only=True)
class Text(ExportStep):
    def write(self, parts: ExportParts) -> str:  # refused
        return str(parts.outputs)


@attrs.frozen(kw_only=True)
class Unread(ReaderStep):
    def decode(self, content: str, path: str) -> bytes:  # refused
        return content.encode()


def made_wrongly() -> None:
    TinyCNN(16)  # refused
    TinyCNN(widht=16)  # refused
    TinyCNN(width="wide")  # refused
    TinyCNN(norm="group")  # refused
    Invert(around="1")  # refused


def used_wrongly(step: TinyCNN, data: DataInfo) -> str:
    step.width = 32  # refused
    step.build()  # refused
    step.build(data).shape()  # refused
    data.classes  # refused
    return resolved(step.width)  # refused


@hookimpl
def medpipe_networks() -> Iterable[type[NetworkStep]]:
    return [Invert]  # refused


@hookimpl
def medpipe_transforms() -> Iterable[type[TransformStep]]:
    return [Invert(), Swapped()]  # refused


@hookimpl
def medpipe_losses() -> Iterable[type[LossStep]]:
    return OfOne  # refused
