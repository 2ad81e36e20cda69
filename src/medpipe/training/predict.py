"""Run a network over a split and collect its predictions.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.data.readers.file_grid import FileLabels
from medpipe.errors import StepError
from medpipe.evaluation.mask_measures import MaskMeasures, together
from medpipe.evaluation.predictions import Predictions, to_scores
from medpipe.optimization.deep_supervision import first_output
from medpipe.system.progress import bar
from medpipe.training.memory_format import in_channels_last

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.steps import Denominator, Inferer, Loss, Sample, Task
    from medpipe.system.hardware import Precision
    from medpipe.training.truths import Truths


LOSS_BYTES = 1 << 30
"""Bytes of outputs of a batch above which they may come in parts, without a loss."""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Compute in `precision`; float32 leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def predict(
    network: torch.nn.Module,
    loader: Iterable[dict[str, Any]],
    *,
    device: torch.device,
    precision: Precision,
    task: Task,
    samples: Sequence[Sample],
    loss: Loss | None = None,
    denominator: Denominator | None = None,
    inferer: Inferer | None = None,
    description: str = "Evaluating",
    before_batch: Callable[[], None] | None = None,
    truths: Truths | None = None,
    surfaces: bool = True,
    measures: MaskMeasures | None = None,
) -> tuple[Predictions, MeanLoss]:
    """Give a network's predictions by sample id, and its mean loss.

    Args:
        network: The network, on `device`; it is put in evaluation mode, and back.
        loader: Batches.
        device: Where to compute.
        precision: In what to compute.
        task: What the outputs mean.
        samples: The data set's samples, in any order: their groups and those of their extra
            columns that all of them have travel with the predictions.
        loss: The loss to average over batches; None for none. Images whose outputs would take too
            much memory (`LOSS_BYTES`) have none if the inferer gives them in parts.
        denominator: What the loss of labels is divided by, by which batches are weighed; None: by
            the number of samples.
        inferer: How the network is called; None: as it is.
        description: The words in front of the progress bar.
        before_batch: Called before each batch; what it raises ends the prediction.
        truths: The labels on the grids of their files, where labels are images.
        surfaces: Whether to measure distances between surfaces too; see `TaskStep.case_scores`.
        measures: What else to measure of masks, for metrics that ask for it; None: nothing.
    """
    if task.step.dense:
        return _predict_images(
            network,
            loader,
            device=device,
            precision=precision,
            task=task,
            samples=samples,
            losses=_Losses(loss, denominator),
            inferer=inferer,
            description=description,
            before_batch=before_batch,
            truths=truths or Truths(),
            surfaces=surfaces,
            measures=measures,
        )
    ids: list[str] = []
    outputs, labels = [], []
    losses = _Losses(loss, denominator)
    caller = Caller(device=device, precision=precision, inferer=inferer)
    with _evaluating(network, loader, description, before_batch) as (batches, run):
        for batch in batches:
            predicted = caller.outputs(batch["image"], run)
            predicted = _outputs(predicted, len(batch["image"]), task).float()
            losses.add(predicted, batch["label"])
            ids += batch["id"]
            # They stay on the device: to fetch them would wait for it in every batch.
            outputs.append(predicted)
            labels.append(batch["label"])
    by_id = {sample.id: sample for sample in samples}
    predictions = Predictions(
        task=task,
        ids=tuple(ids),
        scores=to_scores(torch.cat(outputs).cpu(), task),
        labels=task.step.label_array(torch.cat(labels).numpy(), task.names),
        groups=tuple(by_id[id_].group for id_ in ids),
        extra=_extra(ids, by_id, samples),
    )
    return predictions, losses.mean()


def _predict_images(
    network: torch.nn.Module,
    loader: Iterable[dict[str, Any]],
    *,
    device: torch.device,
    precision: Precision,
    task: Task,
    samples: Sequence[Sample],
    losses: _Losses,
    inferer: Inferer | None,
    description: str,
    before_batch: Callable[[], None] | None,
    truths: Truths,
    surfaces: bool,
    measures: MaskMeasures | None,
) -> tuple[Predictions, MeanLoss]:
    """As `predict`, for tasks whose labels are images: each case is measured as it comes."""
    import numpy as np

    by_id = {sample.id: sample for sample in samples}
    ids: list[str] = []
    scores, labels, more, units = [], [], [], []

    caller = Caller(device=device, precision=precision, inferer=inferer)
    with _evaluating(network, loader, description, before_batch) as (batches, run):
        for id_, answer, grid in _answers(batches, run, caller, task, losses):
            truth = truths.of(by_id[id_], grid)
            measured, label = task.step.case_scores(
                answer, truth, task.names, spacing=grid.spacing, surfaces=surfaces
            )
            ids.append(id_)
            scores.append(measured)
            labels.append(label)
            units.append(grid.unit)
            if measures is not None:
                more.append(measures(answer, truth, grid.spacing))
    predictions = Predictions(
        task=task,
        ids=tuple(ids),
        measures=together(more),
        units=tuple(units),
        scores=np.stack(scores),
        labels=np.stack(labels),
        groups=tuple(by_id[id_].group for id_ in ids),
        extra=_extra(ids, by_id, samples),
    )
    return predictions, losses.mean()


@torch.no_grad()
def predict_masks(
    network: torch.nn.Module,
    loader: Iterable[dict[str, Any]],
    take: Callable[[str, Any, FileGrid], object],
    *,
    device: torch.device,
    precision: Precision,
    task: Task,
    inferer: Inferer | None = None,
    description: str = "Predicting",
) -> None:
    """Predict images of a task whose labels are images, one after the other.

    Args:
        network: The network, on `device`.
        loader: Batches, of which no label is needed.
        take: Called with each sample's id, its labels on the grid of its file (uint8 of shape
            (channels, spatial...)), and that grid.
        device: Where to compute.
        precision: In what to compute.
        task: What the outputs mean.
        inferer: How the network is called; None: as it is.
        description: The words in front of the progress bar.
    """
    caller = Caller(device=device, precision=precision, inferer=inferer)
    with _evaluating(network, loader, description, None) as (batches, run):
        for id_, answer, grid in _answers(batches, run, caller, task, _Losses(None, None)):
            take(id_, answer, grid)


def _answers(
    batches: Iterable[dict[str, Any]], run: Any, caller: Caller, task: Task, losses: _Losses
) -> Iterator[tuple[str, Any, FileGrid]]:
    """Labels on the grids of the files, by sample id."""
    run = first_output(run)
    for batch in batches:
        images = batch["image"]
        count, sides = len(images), images.shape[2:]
        grids = [file_grid(*pair) for pair in zip(batch["grid"], batch["id"], strict=True)]
        labels = [FileLabels(grid, sides, task.step.decided) for grid in grids]
        regions = None
        if not losses.wanted or 4 * count * task.outputs * math.prod(sides) > LOSS_BYTES:
            regions = caller.regions(images, run)
        if regions is None:
            predicted = _outputs(caller.outputs(images, run), count, task, sides).float()
            losses.add(predicted, batch.get("label"))
            regions = iter([([slice(0, side) for side in (count, *sides)], predicted)])
            del predicted
        for (some, *region), outputs in regions:
            for place in range(some.start, some.stop):
                labels[place].add(region, outputs[place - some.start])
        ids = batch["id"]
        del batch, images, regions, outputs  # large volumes, which need not stay meanwhile
        for id_, found, grid in zip(ids, labels, grids, strict=True):
            yield id_, found.whole().numpy(), grid


def file_grid(grid: FileGrid | None, sample_id: str) -> FileGrid:
    """Where an image lies.

    Raises:
        StepError: A transform dropped the metadata that tell it.
    """
    if grid is None:
        raise StepError(
            f"The sample {sample_id!r} leaves the transform chain without its metadata, so that "
            "its prediction can't be put back onto the grid of its file. Let each transform give "
            "the MetaTensor that it gets, changed."
        )
    return grid


@attrs.frozen(kw_only=True)
class Caller:
    """Calls a network on batches of images, by an inferer if there is one."""

    device: torch.device
    precision: Precision
    inferer: Inferer | None

    def outputs(self, images: torch.Tensor, run: Any) -> object:
        """The outputs of a batch."""
        on_device = images.to(self.device, non_blocking=True)
        with autocast(self.device, self.precision):
            return run(on_device) if self.inferer is None else self.inferer(on_device, run)

    def regions(self, images: torch.Tensor, run: Any) -> Iterator[tuple[Any, torch.Tensor]] | None:
        """The outputs of a batch in parts; None where the inferer gives none."""
        stream = getattr(self.inferer, "regions", None)
        if stream is None:
            return None

        def network(windows: torch.Tensor) -> Any:
            with autocast(self.device, self.precision):
                return run(windows)

        found: Iterator[tuple[Any, torch.Tensor]] = stream(
            images.to(self.device, non_blocking=True), network
        )
        return found


@contextmanager
def _evaluating(
    network: torch.nn.Module,
    loader: Iterable[dict[str, Any]],
    description: str,
    before_batch: Callable[[], None] | None,
) -> Iterator[tuple[Iterator[dict[str, Any]], Any]]:
    """The batches under a progress bar, and the network in evaluation mode."""
    was_training = network.training
    network.eval()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in loader:
            if before_batch is not None:
                before_batch()
            yield batch
            shown.advance()

    try:
        with (
            bar(description, _length(loader), unit="batches") as shown,
            in_channels_last(network) as run,
        ):
            yield batches(), run
    finally:
        network.train(was_training)


class _Losses:
    """The losses of batches, to average."""

    def __init__(self, loss: Loss | None, denominator: Denominator | None) -> None:
        self._loss, self._denominator = loss, denominator
        self._found: list[tuple[torch.Tensor, torch.Tensor | int]] = []

    @property
    def wanted(self) -> bool:
        """Whether there is a loss."""
        return self._loss is not None

    def add(self, predicted: torch.Tensor, label: torch.Tensor | None) -> None:
        """Add that of a batch; of images, only where the label is on their grid."""
        if self._loss is None or label is None or predicted.shape[2:] != label.shape[2:]:
            return
        label = label.to(predicted.device, non_blocking=True)
        count = len(predicted) if self._denominator is None else self._denominator(label)
        self._found.append((self._loss(predicted, label), count))

    def mean(self) -> MeanLoss:
        """The mean over what batches are weighed by."""
        counts = [float(count) for _, count in self._found]
        total = sum(
            (float(value) * n for (value, _), n in zip(self._found, counts, strict=True)), 0.0
        )
        return MeanLoss(total=total, count=sum(counts))


@attrs.frozen(kw_only=True)
class MeanLoss:
    """A mean loss, which can be joined with that of other samples.

    Attributes:
        total: The sum of the losses.
        count: What it is divided by: samples, or labels that are there, or their weights.
    """

    total: float
    count: float

    @property
    def mean(self) -> float | None:
        """The mean; None without a loss, or if it is not finite."""
        if not self.count:
            return None
        mean = self.total / self.count
        # As for metrics: JSON knows neither NaN nor infinity.
        return mean if math.isfinite(mean) else None

    @classmethod
    def over(cls, parts: Sequence[MeanLoss]) -> MeanLoss:
        """The mean loss over the samples of all parts."""
        return cls(total=sum(p.total for p in parts), count=sum(p.count for p in parts))


def _extra(
    ids: Sequence[str], by_id: Mapping[str, Sample], samples: Sequence[Sample]
) -> dict[str, tuple[str, ...]]:
    return {
        column: tuple(_text(by_id[id_].extra[column]) for id_ in ids)
        for column in _shared_columns(samples)
    }


def _outputs(predicted: object, count: int, task: Task, sides: Sequence[int] = ()) -> torch.Tensor:
    """What an inferer gave for a batch.

    Raises:
        StepError: It is no tensor of the shape (samples, outputs), with `sides` after them.
    """
    expected = (count, task.outputs, *sides)
    if not isinstance(predicted, torch.Tensor):
        given = f"a {type(predicted).__name__}"
    elif tuple(predicted.shape) != expected:
        given = f"the shape {tuple(predicted.shape)}"
    else:
        return predicted
    raise StepError(
        f"The inferer gives {given} for {count} images, not a tensor of shape {expected}. Return "
        "the network's outputs, a row for each image."
    )


def _shared_columns(samples: Sequence[Sample]) -> list[str]:
    """The extra columns that every sample has, in the order of the first."""
    if not samples:
        return []
    return [column for column in samples[0].extra if all(column in s.extra for s in samples)]


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)


def _length(loader: Iterable[Any]) -> int | None:
    return len(loader) if isinstance(loader, Sized) else None
