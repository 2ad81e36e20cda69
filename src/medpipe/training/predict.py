"""Run a network over a split and collect its predictions.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import TYPE_CHECKING, Any

import torch

from medpipe.errors import StepError
from medpipe.evaluation.predictions import Predictions, to_scores
from medpipe.system.progress import bar
from medpipe.training.memory_format import in_channels_last

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from medpipe.steps import Denominator, Inferer, Loss, Sample, Task
    from medpipe.system.hardware import Precision


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
) -> tuple[Predictions, float | None]:
    """Give a network's predictions by sample id, and its mean loss, None where it is not finite.

    Args:
        network: The network, on `device`; it is put in evaluation mode, and back.
        loader: Batches.
        device: Where to compute.
        precision: In what to compute.
        task: What the outputs mean.
        samples: The data set's samples, in any order: their groups and those of their extra
            columns that all of them have travel with the predictions.
        loss: The loss to average over batches; None for none.
        denominator: What the loss of labels is divided by, by which batches are weighed; None: by
            the number of samples.
        inferer: How the network is called; None: as it is.
        description: The words in front of the progress bar.
        before_batch: Called before each batch; what it raises ends the prediction.
    """
    was_training = network.training
    network.eval()
    ids: list[str] = []
    outputs, labels = [], []
    losses: list[tuple[torch.Tensor, torch.Tensor | int]] = []
    try:
        with (
            bar(description, _length(loader), unit="batches") as shown,
            in_channels_last(network) as run,
        ):
            for batch in loader:
                if before_batch is not None:
                    before_batch()
                image = batch["image"].to(device, non_blocking=True)
                label = batch["label"].to(device, non_blocking=True)
                with autocast(device, precision):
                    predicted = run(image) if inferer is None else inferer(image, run)
                predicted = _outputs(predicted, len(image), task).float()
                if loss is not None:
                    count = len(image) if denominator is None else denominator(label)
                    losses.append((loss(predicted, label), count))
                ids += batch["id"]
                # They stay on the device: to fetch them would wait for it in every batch.
                outputs.append(predicted)
                labels.append(batch["label"])
                shown.advance()
    finally:
        network.train(was_training)
    counts = [float(count) for _, count in losses]
    total = sum((float(value) * n for (value, _), n in zip(losses, counts, strict=True)), 0.0)
    mean = total / sum(counts) if sum(counts) else math.nan
    by_id = {sample.id: sample for sample in samples}
    predictions = Predictions(
        task=task,
        ids=tuple(ids),
        scores=to_scores(torch.cat(outputs).cpu(), task),
        labels=task.step.label_array(torch.cat(labels).numpy(), task.names),
        groups=tuple(by_id[id_].group for id_ in ids),
        extra={
            column: tuple(_text(by_id[id_].extra[column]) for id_ in ids)
            for column in _shared_columns(samples)
        },
    )
    # As for metrics: JSON knows neither NaN nor infinity.
    return predictions, mean if loss is not None and math.isfinite(mean) else None


def _outputs(predicted: object, count: int, task: Task) -> torch.Tensor:
    """What an inferer gave for a batch.

    Raises:
        StepError: It is no tensor of the shape (samples, outputs).
    """
    expected = (count, task.outputs)
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
