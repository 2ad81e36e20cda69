"""Ordinal grades for medpipe: one step of each kind.

``python -m medpipe_grades FOLDER`` draws the images of the data set.

The network answers K grades by K - 1 numbers, one for each "above this grade" (Cao, Mirjalili and
Raschka, Pattern Recognition Letters 140 (2020), arXiv:1901.07884).
"""

from __future__ import annotations

import io
import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import attrs
import numpy as np
from attrs.validators import ge, gt, le, lt

from medpipe.plugin import (
    Accumulation,
    ClassLabels,
    DataError,
    Dataset,
    DatasetStep,
    DecodedImage,
    ExportStep,
    Freezing,
    HandlerStep,
    InfererStep,
    LossStep,
    MetricStep,
    NetworkStep,
    OptimizerStep,
    ParameterGroup,
    ReaderStep,
    Sample,
    ScheduleStep,
    Steps,
    Task,
    TaskStep,
    TrainerStep,
    Training,
    TransformStep,
    UnreadableImageError,
    follow_schedule,
    hookimpl,
    make_optimizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    import torch
    from ignite.engine import Engine
    from torch import nn

    from medpipe.plugin import (
        DataInfo,
        Exported,
        ExportParts,
        Inferer,
        Loss,
        Reading,
        RunContext,
        TrainingParts,
    )

    Array = np.ndarray[Any, np.dtype[Any]]


GRADES = ("G1", "G2", "G3")
DISC_MARK = b"DISC"


@attrs.frozen(kw_only=True)
class Grades(ClassLabels):
    """Grades in an order, such as of a tumour.

    Attributes:
        order: The grades, the lowest first; without them they are in the order of their names.
    """

    name: ClassVar[str] = "grades"
    word: ClassVar[str] = "grade"
    label_form: ClassVar[str] = "grade"
    loss: ClassVar[str] = "medpipe-grades:cumulative"
    monitor: ClassVar[str] = "c_index"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "medpipe-grades:c_index")
    order: tuple[str, ...] = ()

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Grades in the order of their names, and in another."""
        return [cls(), cls(order=("low", "middle", "high"))]

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """The grades from the lowest to the highest."""
        return self.order or tuple(names)

    def outputs(self, names: Sequence[str]) -> int:
        """One for each grade but the highest."""
        return len(names) - 1

    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probabilities of the grades, from those of being above each."""
        import torch

        above = torch.sigmoid(outputs).cummin(dim=1).values
        certain, never = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
        return torch.cat([certain, above], dim=1) - torch.cat([above, never], dim=1)


@attrs.frozen(kw_only=True)
class GrownDiscs(DatasetStep):
    """Pictures of discs, whose grade is their size: two of each patient.

    Attributes:
        root: The folder that ``python -m medpipe_grades FOLDER`` drew.
    """

    name: ClassVar[str] = "grown_discs"
    root: Path = Path("discs")

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Discs of six patients."""
        draw_discs(folder, patients=6)
        return [cls(root=folder)]

    def build(self) -> Dataset:
        """List the pictures ``PATIENT-VISIT-GRADE.disc``.

        Raises:
            DataError: There are none.
        """
        samples: list[Sample] = []
        for path in sorted(self.root.glob("*.disc")):
            patient, _, grade = path.stem.split("-")
            label = GRADES.index(grade)
            samples.append(Sample(id=path.name, image=str(path), label=label, group=patient))
        if not samples:
            raise DataError(
                f"dataset.root: {self.root} holds no .disc file. Draw some: "
                "python -m medpipe_grades FOLDER"
            )
        return Dataset(samples=samples, task=Task(kind=Grades(), names=GRADES))


def draw_discs(folder: Path, patients: int = 60) -> None:
    """Write two pictures of each patient."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]
    for patient in range(patients):
        grade = patient % 3
        for visit in range(2):
            row, column = random.uniform(8, 16, 2)
            inside = np.hypot(rows - row, columns - column) < 3 + 1.3 * grade
            image: Array = random.normal(200, 40, (24, 24)) + np.where(inside, 120.0, 0.0)
            name = f"{patient:03}-{visit}-{GRADES[grade]}.disc"
            pixels = image.clip(0).astype("<u2").tobytes()
            (folder / name).write_bytes(DISC_MARK + struct.pack("<HH", 24, 24) + pixels)


@attrs.frozen(kw_only=True)
class DiscFile(ReaderStep):
    """Grey values of 16 bits after a mark, the height and the width."""

    name: ClassVar[str] = "disc"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Discs of one patient."""
        draw_discs(folder, patients=1)
        return [cls()]

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the mark is there."""
        return head.startswith(DISC_MARK)

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file.

        Raises:
            UnreadableImageError: It is shorter or longer than its header says.
        """
        height, width = struct.unpack_from("<HH", content, len(DISC_MARK))
        start = len(DISC_MARK) + 4
        if len(content) != start + 2 * height * width:
            reason = f"should hold {start + 2 * height * width} bytes, not {len(content)}"
            raise UnreadableImageError(path, reason, kind="truncated")
        values: Array = np.frombuffer(content, "<u2", offset=start).reshape(height, width)
        return DecodedImage(values=values)


@attrs.frozen(kw_only=True)
class Darken(TransformStep):
    """Multiplies all values.

    Attributes:
        factor: By what.
    """

    name: ClassVar[str] = "darken"
    factor: float = attrs.field(default=0.01, validator=gt(0))

    def build(self) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        """Give a callable on a sample."""
        return lambda sample: {**sample, "image": sample["image"] * self.factor}


@attrs.frozen(kw_only=True)
class TwoLayers(NetworkStep):
    """A small convolutional network.

    Attributes:
        width: Channels of the first convolution.
    """

    name: ClassVar[str] = "two_layers"
    width: int = attrs.field(default=8, validator=ge(1))

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network."""
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, self.width, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * self.width, data.outputs),
        )


@attrs.frozen(kw_only=True)
class Cumulative(LossStep):
    """Binary cross-entropy of being above each grade but the highest, averaged over samples."""

    name: ClassVar[str] = "cumulative"
    labels: ClassVar[frozenset[str]] = frozenset({"grade"})

    def build(self, data: DataInfo) -> Loss:
        """Make the loss."""
        import torch

        def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            above = labels[:, None] > torch.arange(outputs.shape[1], device=outputs.device)
            return torch.nn.functional.binary_cross_entropy_with_logits(
                outputs.float(), above.float()
            )

        return loss


@attrs.frozen(kw_only=True)
class SignMomentum(OptimizerStep):
    """Steps by the sign of a momentum (Chen et al., 2023, arXiv:2302.06675, without decay).

    Attributes:
        momentum: How much of it stays at each step.
    """

    name: ClassVar[str] = "sign_momentum"
    momentum: float = attrs.field(default=0.9, validator=[ge(0), lt(1)])

    def build(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Make the optimizer."""
        import torch

        class Sign(torch.optim.Optimizer):
            @torch.no_grad()
            def step(self, closure: Any = None) -> Any:
                for group in self.param_groups:
                    for parameter in group["params"]:
                        if parameter.grad is None:
                            continue
                        state = self.state[parameter]
                        before = state.setdefault("momentum", torch.zeros_like(parameter))
                        before.lerp_(parameter.grad, 1 - group["momentum"])
                        parameter.add_(before.sign(), alpha=-group["lr"])

        defaults = {"lr": learning_rate, "momentum": self.momentum}
        return Sign([dict(group) for group in groups], defaults)


@attrs.frozen(kw_only=True)
class Triangle(ScheduleStep):
    """Up in a straight line to the middle of the run, and down again.

    Attributes:
        least: The factor at both ends.
    """

    name: ClassVar[str] = "triangle"
    least: float = attrs.field(default=0.1, validator=[ge(0), le(1)])

    def factor(
        self, done: int, total: int, epoch_length: int, losses: Sequence[float | None]
    ) -> float:
        """The factor after so many steps."""
        return self.least + (1 - self.least) * (1 - abs(2 * done / total - 1))


@attrs.frozen(kw_only=True)
class PlainLoop(TrainerStep):
    """MONAI's trainer, with medpipe's parameter groups, freezing, schedule and accumulation.

    Attributes:
        learning_rate: The highest.
        optimizer: The optimizer.
        schedule: What the learning rate is multiplied by; None: nothing.
        accumulation: Iterations for one step of the optimizer.
        parameters: Parameters that are trained in a way of their own.
    """

    name: ClassVar[str] = "plain_loop"
    learning_rate: float = attrs.field(default=0.01, validator=gt(0))
    optimizer: OptimizerStep = SignMomentum()
    schedule: ScheduleStep | None = None
    accumulation: int = attrs.field(default=1, validator=ge(1))
    parameters: tuple[ParameterGroup, ...] = ()

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer."""
        from monai.engines.trainer import SupervisedTrainer

        network = parts.network
        optimizer = make_optimizer(
            self.optimizer, network, learning_rate=self.learning_rate, groups=self.parameters
        )
        steps = Steps(
            max_epochs=parts.max_epochs,
            epoch_length=len(parts.loader),
            accumulation=self.accumulation,
        )
        loss = parts.loss
        state: dict[str, Any] = {"network": network, "optimizer": optimizer}
        if self.accumulation > 1 and parts.denominator is not None:
            accumulation = Accumulation(parts.denominator, network, steps)
            loss, state["accumulation"] = accumulation.weighed(loss), accumulation
        engine = SupervisedTrainer(
            device=parts.device,
            max_epochs=parts.max_epochs,
            train_data_loader=parts.loader,
            network=parts.parallel(network),
            optimizer=optimizer,
            loss_function=loss,
            inferer=parts.inferer(),
            decollate=False,
            accumulation_steps=self.accumulation,
        )
        if "accumulation" in state:
            state["accumulation"].attach(engine)
        Freezing(network, self.parameters).attach(engine)
        planned = follow_schedule(
            engine, optimizer, self.schedule, steps=steps, history=parts.history
        )
        return Training(engine=engine, state=state, planned=planned)


@attrs.frozen(kw_only=True)
class CIndex(MetricStep):
    """How many pairs of unequal grades are ordered rightly; ties count half (Harrell, 1982)."""

    name: ClassVar[str] = "c_index"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    pooled: ClassVar[Literal["cases", "mean"]] = "mean"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The grade, and the mean grade that is predicted."""
        return np.stack([labels, scores @ np.arange(len(task.names))], axis=1)

    def statistic(self, rows: Array, task: Task) -> Callable[[Array], Array]:
        """Order the cases once; then each pair of grades by sums of weights."""
        grades, predicted = rows.T
        places = [np.flatnonzero(grades == grade) for grade in np.unique(grades)]
        by_score = [some[np.argsort(predicted[some], kind="stable")] for some in places]
        pairs = [
            (low, high, *_below(predicted[low], predicted[high]))
            for place, low in enumerate(by_score)
            for high in by_score[place + 1 :]
        ]

        def c_index(weights: Array) -> Array:
            right = total = np.zeros(weights.shape[1])
            for low, high, under, upto in pairs:
                sums = np.concatenate([np.zeros((1, weights.shape[1])), weights[low].cumsum(0)])
                counted = (sums[under] + sums[upto]) / 2
                right = right + (weights[high] * counted).sum(axis=0)
                total = total + weights[high].sum(axis=0) * sums[-1]
            return np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)

        return c_index


def _below(low: Array, high: Array) -> tuple[Array, Array]:
    """For each of the high, how many of the sorted low are below it, and how many up to it."""
    return np.searchsorted(low, high, side="left"), np.searchsorted(low, high, side="right")


@attrs.frozen(kw_only=True)
class HalfTurn(InfererStep):
    """The mean of the outputs for an image and its half turn."""

    name: ClassVar[str] = "half_turn"

    def build(self, data: DataInfo) -> Inferer:
        """Give a callable on images and the network; outputs that are masks are turned back."""
        dense = data.task.step.dense

        def mean(inputs: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
            turned = network(inputs.flip([-2, -1]))
            found: torch.Tensor = network(inputs) + (turned.flip([-2, -1]) if dense else turned)
            return found / 2

        return mean


@attrs.frozen(kw_only=True)
class LoudestGradient(HandlerStep):
    """The largest gradient so far, as ``loudest.txt``."""

    name: ClassVar[str] = "loudest_gradient"

    def attach(self, engine: Engine, context: RunContext) -> object:
        """Look at the gradients of each iteration."""
        from ignite.engine import Events

        loudest, events = (
            _Loudest(context.network),
            cast("Any", engine),
        )  # ignite is not typed whole
        events.add_event_handler(Events.ITERATION_COMPLETED, loudest.look)
        context.on(
            "checkpoint_saved", lambda: context.write_text("loudest.txt", f"{loudest.value!r}\n")
        )
        return loudest


class _Loudest:
    def __init__(self, network: nn.Module) -> None:
        self.value = 0.0
        self._network = network

    def look(self) -> None:
        found = [p.grad.abs().max() for p in self._network.parameters() if p.grad is not None]
        self.value = max([self.value, *map(float, found)])

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.value = state["value"]


@attrs.frozen(kw_only=True)
class Npz(ExportStep):
    """The weights as NumPy's npz."""

    name: ClassVar[str] = "npz"
    suffix: ClassVar[str] = "npz"
    holds_graph: ClassVar[bool] = False

    def write(self, parts: ExportParts) -> bytes:
        """Give the file's content."""
        state = {name: value.numpy() for name, value in parts.network.state_dict().items()}
        into = io.BytesIO()
        np.savez(into, **state, about=json.dumps(dict(parts.about)))
        return into.getvalue()

    def about(self, content: bytes) -> Mapping[str, str]:
        """Which run and contract it is of."""
        return dict(json.loads(str(np.load(io.BytesIO(content))["about"])))

    def open(self, content: bytes, rebuilt: Callable[[], Any]) -> Exported:
        """Load the weights into the network of the contract."""
        import torch

        held, graph = np.load(io.BytesIO(content)), rebuilt()
        state = {name: torch.tensor(held[name]) for name in held if name != "about"}
        graph.network.load_state_dict(state)

        def answer(images: Array) -> Mapping[str, Array]:
            with torch.no_grad():
                found = graph(torch.tensor(images))
            return {name: value.numpy() for name, value in found.items()}

        return answer


@hookimpl
def medpipe_datasets() -> Iterable[type[DatasetStep]]:
    """Offer the data set."""
    return [GrownDiscs]


@hookimpl
def medpipe_transforms() -> Iterable[type[TransformStep]]:
    """Offer the transform."""
    return [Darken]


@hookimpl
def medpipe_networks() -> Iterable[type[NetworkStep]]:
    """Offer the network."""
    return [TwoLayers]


@hookimpl
def medpipe_losses() -> Iterable[type[LossStep]]:
    """Offer the loss."""
    return [Cumulative]


@hookimpl
def medpipe_trainers() -> Iterable[type[TrainerStep]]:
    """Offer the trainer."""
    return [PlainLoop]


@hookimpl
def medpipe_optimizers() -> Iterable[type[OptimizerStep]]:
    """Offer the optimizer."""
    return [SignMomentum]


@hookimpl
def medpipe_schedules() -> Iterable[type[ScheduleStep]]:
    """Offer the schedule."""
    return [Triangle]


@hookimpl
def medpipe_metrics() -> Iterable[type[MetricStep]]:
    """Offer the metric."""
    return [CIndex]


@hookimpl
def medpipe_inferers() -> Iterable[type[InfererStep]]:
    """Offer the inferer."""
    return [HalfTurn]


@hookimpl
def medpipe_handlers() -> Iterable[type[HandlerStep]]:
    """Offer the handler."""
    return [LoudestGradient]


@hookimpl
def medpipe_readers() -> Iterable[type[ReaderStep]]:
    """Offer the reader."""
    return [DiscFile]


@hookimpl
def medpipe_tasks() -> Iterable[type[TaskStep]]:
    """Offer the task."""
    return [Grades]


@hookimpl
def medpipe_exports() -> Iterable[type[ExportStep]]:
    """Offer the export format."""
    return [Npz]


if __name__ == "__main__":
    draw_discs(Path(sys.argv[1]))
