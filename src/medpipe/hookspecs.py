"""The hooks by which a plugin offers its steps.

Each hook takes no arguments and returns an iterable of step classes. A plugin implements those it
has steps for, marks each with `hookimpl`, and names its module in the entry-point group
``medpipe``::

    [project.entry-points.medpipe]
    tiny = "medpipe_tiny"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medpipe.steps import (
        DatasetStep,
        ExportStep,
        HandlerStep,
        InfererStep,
        LossStep,
        MetricStep,
        NetworkStep,
        OptimizerStep,
        ReaderStep,
        ScheduleStep,
        Step,
        TaskStep,
        TrainerStep,
        TransformStep,
    )

PROJECT = "medpipe"
"""The name of the entry-point group and of the pluggy project."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of a hook."""


@hookspec
def medpipe_datasets() -> Iterable[type[DatasetStep]]:  # type: ignore[empty-body]
    """Offer dataset steps: each lists samples.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Ward(DatasetStep):
                '''The images of one ward.'''

                name: ClassVar[str] = "ward"
                root: str

                def build(self) -> Dataset:
                    files = sorted(Path(self.root).glob("*.png"))
                    return Dataset(
                        samples=[Sample(id=f.name, image=f, label=f.name[0] == "b") for f in files],
                        task=Task(names=("healthy", "ill")),
                    )


            @hookimpl
            def medpipe_datasets() -> Iterable[type[DatasetStep]]:
                return [Ward]
    """


@hookspec
def medpipe_transforms() -> Iterable[type[TransformStep]]:  # type: ignore[empty-body]
    """Offer transform steps: each changes a sample.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Invert(TransformStep):
                '''Inverts the intensities.'''

                name: ClassVar[str] = "invert"

                def build(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
                    return lambda sample: {**sample, "image": 1 - sample["image"]}


            @hookimpl
            def medpipe_transforms() -> Iterable[type[TransformStep]]:
                return [Invert]
    """


@hookspec
def medpipe_networks() -> Iterable[type[NetworkStep]]:  # type: ignore[empty-body]
    """Offer network steps: each makes an ``nn.Module`` for the data at hand.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Linear(NetworkStep):
                '''One linear layer on the mean of each channel.'''

                name: ClassVar[str] = "linear"

                def build(self, data: DataInfo) -> nn.Module:
                    from torch import nn

                    pool = nn.AdaptiveAvgPool2d(1)
                    return nn.Sequential(pool, nn.Flatten(), nn.Linear(data.channels, data.outputs))


            @hookimpl
            def medpipe_networks() -> Iterable[type[NetworkStep]]:
                return [Linear]
    """


@hookspec
def medpipe_trainers() -> Iterable[type[TrainerStep]]:  # type: ignore[empty-body]
    """Offer trainer steps: each makes an Ignite engine.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Plain(TrainerStep):
                '''MONAI's trainer with plain gradient descent.'''

                name: ClassVar[str] = "plain"
                learning_rate: float = 0.1

                def build(self, parts: TrainingParts) -> Training:
                    import torch
                    from monai.engines import SupervisedTrainer

                    network = parts.network
                    optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate)
                    engine = SupervisedTrainer(
                        device=parts.device,
                        max_epochs=parts.max_epochs,
                        train_data_loader=parts.loader,
                        network=parts.parallel(network),
                        optimizer=optimizer,
                        loss_function=parts.loss,
                        inferer=parts.inferer(),
                        decollate=False,
                    )
                    state = {"network": network, "optimizer": optimizer}
                    return Training(engine=engine, state=state)


            @hookimpl
            def medpipe_trainers() -> Iterable[type[TrainerStep]]:
                return [Plain]
    """


@hookspec
def medpipe_losses() -> Iterable[type[LossStep]]:  # type: ignore[empty-body]
    """Offer loss steps: each gives a callable on predictions and labels.

    `labels` names the forms that it fits: ``class``, ``findings``, ``numbers``, or of a
    segmentation ``mask`` (exclusive structures) and ``masks`` (those that may overlap).

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Smooth(LossStep):
                '''Cross-entropy with smoothed labels.'''

                name: ClassVar[str] = "smooth"
                labels: ClassVar[frozenset[str]] = frozenset({"class"})
                smoothing: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))

                def build(self, data: DataInfo) -> Loss:
                    from torch import nn

                    return nn.CrossEntropyLoss(label_smoothing=self.smoothing)


            @hookimpl
            def medpipe_losses() -> Iterable[type[LossStep]]:
                return [Smooth]
    """


@hookspec
def medpipe_optimizers() -> Iterable[type[OptimizerStep]]:  # type: ignore[empty-body]
    """Offer optimizer steps: each makes a torch optimizer.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Plain(OptimizerStep):
                '''Gradient descent without anything.'''

                name: ClassVar[str] = "plain_sgd"

                def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
                    import torch

                    return torch.optim.SGD(groups, lr=learning_rate)


            @hookimpl
            def medpipe_optimizers() -> Iterable[type[OptimizerStep]]:
                return [Plain]
    """


@hookspec
def medpipe_schedules() -> Iterable[type[ScheduleStep]]:  # type: ignore[empty-body]
    """Offer schedule steps: each is a curve of the learning rate.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Linear(ScheduleStep):
                '''Down to nothing in a straight line.'''

                name: ClassVar[str] = "linear"

                def factor(
                    self, done: int, total: int, epoch_length: int, losses: Sequence[float | None]
                ) -> float:
                    return 1 - done / total


            @hookimpl
            def medpipe_schedules() -> Iterable[type[ScheduleStep]]:
                return [Linear]
    """


@hookspec
def medpipe_metrics() -> Iterable[type[MetricStep]]:  # type: ignore[empty-body]
    """Offer metric steps: each measures predictions.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Confidence(MetricStep):
                '''The mean probability of the true class.'''

                name: ClassVar[str] = "confidence"
                direction: ClassVar[Literal["max", "min"]] = "max"
                answers: ClassVar[frozenset[str]] = frozenset({"class"})

                def rows(self, scores: Array, labels: Array, task: Task) -> Array:
                    return scores[range(len(labels)), labels]


            @hookimpl
            def medpipe_metrics() -> Iterable[type[MetricStep]]:
                return [Confidence]
    """


@hookspec
def medpipe_inferers() -> Iterable[type[InfererStep]]:  # type: ignore[empty-body]
    """Offer inferer steps: each calls a network for evaluation and prediction.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Turned(InfererStep):
                '''The mean for the image and its half turn.'''

                name: ClassVar[str] = "turned"

                def build(self, data: DataInfo) -> Inferer:
                    return lambda inputs, network: (
                        network(inputs) + network(inputs.flip([-2, -1]))
                    ) / 2


            @hookimpl
            def medpipe_inferers() -> Iterable[type[InfererStep]]:
                return [Turned]
    """


@hookspec
def medpipe_handlers() -> Iterable[type[HandlerStep]]:  # type: ignore[empty-body]
    """Offer handler steps: each observes the training.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Bell(HandlerStep):
                '''Rings when a run is over.'''

                name: ClassVar[str] = "bell"

                def attach(self, engine: Any, context: RunContext) -> None:
                    context.on("run_completed", lambda run: print("done", run.path))
                    context.on("run_failed", lambda error: print("failed", error))


            @hookimpl
            def medpipe_handlers() -> Iterable[type[HandlerStep]]:
                return [Bell]
    """


@hookspec
def medpipe_readers() -> Iterable[type[ReaderStep]]:  # type: ignore[empty-body]
    """Offer reader steps: each decodes the files of one format.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Raw(ReaderStep):
                '''Grey values of 16 bits without a header, as our scanner writes them.'''

                name: ClassVar[str] = "raw"
                width: int = 512

                def recognises(self, head: bytes, name: str) -> bool:
                    return name.endswith(".raw")

                def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
                    import numpy as np

                    values = np.frombuffer(content, "<u2").reshape(-1, self.width)
                    return DecodedImage(values=values)


            @hookimpl
            def medpipe_readers() -> Iterable[type[ReaderStep]]:
                return [Raw]
    """


@hookspec
def medpipe_tasks() -> Iterable[type[TaskStep]]:  # type: ignore[empty-body]
    """Offer task steps: each defines what labels, outputs and predictions mean.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Screening(ClassLabels):
                '''Two classes, of which the second is not to be missed.'''

                name: ClassVar[str] = "screening"
                loss: ClassVar[str] = "cross_entropy"
                monitor: ClassVar[str] = "average_precision"
                metrics: ClassVar[tuple[str, ...]] = ("average_precision", "auc")


            @hookimpl
            def medpipe_tasks() -> Iterable[type[TaskStep]]:
                return [Screening]
    """


@hookspec
def medpipe_exports() -> Iterable[type[ExportStep]]:  # type: ignore[empty-body]
    """Offer export steps: each writes a trained network in one format.

    Example:
        ::

            @attrs.frozen(kw_only=True)
            class Pth(ExportStep):
                '''The weights, as torch saves them.'''

                name: ClassVar[str] = "pth"
                suffix: ClassVar[str] = "pth"
                holds_graph: ClassVar[bool] = False

                def write(self, parts: ExportParts) -> bytes:
                    import torch

                    into = io.BytesIO()
                    held = {"state": parts.network.state_dict(), "about": dict(parts.about)}
                    torch.save(held, into)
                    return into.getvalue()

                def about(self, content: bytes) -> Mapping[str, str]:
                    import torch

                    return torch.load(io.BytesIO(content))["about"]

                def open(self, content: bytes, rebuilt: Callable[[], Any]) -> Exported:
                    import torch

                    graph = rebuilt()
                    graph.network.load_state_dict(torch.load(io.BytesIO(content))["state"])
                    return lambda images: {
                        name: value.detach().numpy()
                        for name, value in graph(torch.from_numpy(images)).items()
                    }


            @hookimpl
            def medpipe_exports() -> Iterable[type[ExportStep]]:
                return [Pth]
    """


def hook_of(kind: type[Step]) -> str:
    """The name of the hook that offers steps of a kind."""
    plural = "losses" if kind.kind == "loss" else f"{kind.kind}s"
    return f"{PROJECT}_{plural}"
