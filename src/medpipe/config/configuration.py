"""`Configuration`: a whole pipeline as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.registry.wrapped import Wrapped
from medpipe.settings import (
    EvaluationSettings,
    LoaderSettings,
    RunSettings,
    SplitSettings,
    WeightsSettings,
)
from medpipe.steps import (
    DatasetStep,
    HandlerStep,
    InfererStep,
    MetricStep,
    NetworkStep,
    ReaderStep,
    Step,
    TrainerStep,
    TransformStep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@attrs.frozen(kw_only=True)
class Configuration:
    """A whole pipeline as a value: its steps and its settings.

    Attributes:
        dataset: Lists the samples.
        readers: What decodes files, before medpipe's own readers are asked.
        transforms: The chain, in order.
        network: Makes the network.
        trainer: Makes the trainer.
        inferer: How the network is called for evaluation and prediction; None: the task's.
        metrics: What is measured beside the task's own metrics.
        handlers: What sees the training.
        weights: Which trained weights the network starts from.
        loader: How batches are made.
        split: How the samples are divided.
        evaluation: What is measured beside the metrics.
        run: The seed and the device.
    """

    dataset: DatasetStep
    transforms: tuple[TransformStep, ...]
    network: NetworkStep
    trainer: TrainerStep
    readers: tuple[ReaderStep, ...] = ()
    inferer: InfererStep | None = None
    metrics: tuple[MetricStep, ...] = ()
    handlers: tuple[HandlerStep, ...] = ()
    weights: WeightsSettings = WeightsSettings()
    loader: LoaderSettings = LoaderSettings()
    split: SplitSettings = SplitSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    run: RunSettings = RunSettings()

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from trained weights."""
        loads = self.network.untrained() != self.network
        return loads or self.weights != WeightsSettings()

    def steps(self) -> list[tuple[str, Step]]:
        """Every step with its path, nested ones after the step that holds them."""

        def listed(section: str, steps: Sequence[Step]) -> list[tuple[str, Step]]:
            return [(f"{section}[{place}]", step) for place, step in enumerate(steps)]

        first = [("dataset", self.dataset), *listed("reader", self.readers)]
        first += [*listed("transform", self.transforms)]
        first += [("network", self.network), ("trainer", self.trainer)]
        first += [("inferer", self.inferer)] if self.inferer is not None else []
        first += [*listed("metric", self.metrics), *listed("handler", self.handlers)]
        return [found for path, step in first for found in _with_nested(path, step)]


def _with_nested(path: str, step: Step) -> Iterator[tuple[str, Step]]:
    """A step and those among its parameters, each with its path."""
    yield path, step
    if isinstance(step, Wrapped):
        return
    for field in attrs.fields(type(step)):  # type: ignore[arg-type]  # every step is one
        value = getattr(step, field.name)
        items = value if isinstance(value, tuple) else (value,)
        for place, item in enumerate(items):
            if isinstance(item, Step):
                index = f"[{place}]" if items is value else ""
                yield from _with_nested(f"{path}.{field.name}{index}", item)
