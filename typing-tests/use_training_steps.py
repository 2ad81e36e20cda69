"""Steps for training, evaluation and exports, which type checkers accept and the registry takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import (
    DataInfo,
    Exported,
    ExportParts,
    ExportStep,
    HandlerStep,
    Loss,
    LossStep,
    MaskMeasure,
    MetricStep,
    Multiclass,
    OptimizerStep,
    Point,
    ReportContext,
    ReportSection,
    ReportTable,
    RunContext,
    RunFacts,
    ScheduleStep,
    Task,
    TaskStep,
    TrackedStatus,
    Tracker,
    TrackerStep,
    TrainerStep,
    Training,
    TrainingParts,
    hookimpl,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from ignite.engine import Engine
    from torch import nn

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Smoothed(LossStep):
    """Cross entropy with smoothed labels."""

    name: ClassVar[str] = "smoothed"
    labels: ClassVar[frozenset[str]] = frozenset({"class"})
    smoothing: float = 0.1

    def build(self, data: DataInfo) -> Loss:
        from torch import nn

        return nn.CrossEntropyLoss(label_smoothing=self.smoothing)


@attrs.frozen(kw_only=True)
class PlainSGD(OptimizerStep):
    """Gradient descent."""

    name: ClassVar[str] = "plain_sgd"
    usual_rate: ClassVar[float] = 0.1

    def build(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD([dict(group) for group in groups], lr=learning_rate)


@attrs.frozen(kw_only=True)
class Halving(ScheduleStep):
    """Halves the rate after each epoch."""

    name: ClassVar[str] = "halving"
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "epoch"

    def factor(
        self, done: int, total: int, epoch_length: int, losses: Sequence[float | None]
    ) -> float:
        return 0.5 ** (done // epoch_length)


@attrs.frozen(kw_only=True)
class Plain(TrainerStep):
    """MONAI's trainer with gradient descent."""

    name: ClassVar[str] = "plain_descent"
    learning_rate: float = 0.1

    def build(self, parts: TrainingParts) -> Training:
        import torch
        from monai.engines.trainer import SupervisedTrainer

        optimizer = torch.optim.SGD(parts.network.parameters(), lr=self.learning_rate)
        engine = SupervisedTrainer(
            device=parts.device,
            max_epochs=parts.max_epochs,
            train_data_loader=parts.loader,
            network=parts.parallel(parts.network),
            optimizer=optimizer,
            loss_function=parts.loss,
            inferer=parts.inferer(),
            decollate=False,
        )
        return Training(engine=engine, state={"network": parts.network, "optimizer": optimizer})


@attrs.frozen(kw_only=True)
class Notes(HandlerStep):
    """Writes down each validation, and adds a section to the report."""

    name: ClassVar[str] = "notes"

    def attach(self, engine: Engine, context: RunContext) -> None:
        def note(metrics: Mapping[str, Any]) -> None:
            context.write_text("notes.txt", str(metrics))

        if not context.trial:
            context.on("validation_completed", note)

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        table = ReportTable(columns=("name", "cases"), rows=[("all", len(context.labels))])
        return [ReportSection(title="Notes", text=("All cases.",), tables=[table])]


class Listed(Tracker):
    """A tracker in memory."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def sent(self) -> Mapping[str, int]:
        return {point.name: point.step for point in self.points}

    def send(self, points: Sequence[Point]) -> None:
        self.points += points

    def send_file(self, path: Path) -> None:
        self.points.append(Point(f"file/{path.name}", 1, 1.0))

    def close(self, status: TrackedStatus) -> None:
        if status == "failed":
            self.points.clear()


@attrs.frozen(kw_only=True)
class ToAList(TrackerStep):
    """Sends runs to a list."""

    name: ClassVar[str] = "to_a_list"

    def open(self, facts: RunFacts) -> Tracker:
        return Listed()


@attrs.frozen(kw_only=True)
class Errors(MetricStep):
    """The share of wrong answers."""

    name: ClassVar[str] = "errors"
    direction: ClassVar[Literal["max", "min"]] = "min"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        wrong: Array = (scores.argmax(axis=1) != labels).astype("float64")
        return wrong


@attrs.frozen
class Volumes(MaskMeasure):
    """The volumes of a structure and of its reference."""

    columns: ClassVar[tuple[str, ...]] = ("predicted", "reference")

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        return float(predicted.sum()), float(reference.sum())


@attrs.frozen(kw_only=True)
class VolumeRatio(MetricStep):
    """The predicted volume by the true one."""

    name: ClassVar[str] = "volume_ratio"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"cases"})

    def mask_measure(self) -> MaskMeasure:
        return Volumes()

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        ratios: Array = scores[:, 0::2] / scores[:, 1::2]
        means: Array = ratios.mean(axis=1)
        return means


@attrs.frozen(kw_only=True)
class Grades(Multiclass):
    """Classes in an order."""

    name: ClassVar[str] = "grades"
    word: ClassVar[str] = "grade"

    def names_problem(self, names: Sequence[str]) -> str | None:
        return None if len(names) > 2 else "There must be three grades or more."


@attrs.frozen(kw_only=True)
class Pickled(ExportStep):
    """Weights alone, as torch saves them."""

    name: ClassVar[str] = "pickled"
    suffix: ClassVar[str] = "pt"
    holds_graph: ClassVar[bool] = False

    def write(self, parts: ExportParts) -> bytes:
        import io

        import torch

        content = io.BytesIO()
        torch.save({"about": dict(parts.about), "state": parts.network.state_dict()}, content)
        return content.getvalue()

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        import torch

        network = rebuilt()

        def answers(images: Array) -> Mapping[str, Array]:
            found = network(torch.as_tensor(images))
            return {name: values.numpy() for name, values in found.items()}

        return answers

    def about(self, content: bytes) -> Mapping[str, str]:
        return {}


@hookimpl
def medpipe_losses() -> Iterable[type[LossStep]]:
    return [Smoothed]


@hookimpl
def medpipe_optimizers() -> Iterable[type[OptimizerStep]]:
    return [PlainSGD]


@hookimpl
def medpipe_schedules() -> Iterable[type[ScheduleStep]]:
    return [Halving]


@hookimpl
def medpipe_trainers() -> Iterable[type[TrainerStep]]:
    return [Plain]


@hookimpl
def medpipe_handlers() -> Iterable[type[HandlerStep]]:
    return [Notes, ToAList]


@hookimpl
def medpipe_metrics() -> Iterable[type[MetricStep]]:
    return [Errors, VolumeRatio]


@hookimpl
def medpipe_tasks() -> Iterable[type[TaskStep]]:
    return [Grades]


@hookimpl
def medpipe_exports() -> Iterable[type[ExportStep]]:
    return [Pickled]
