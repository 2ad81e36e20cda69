"""Call the loss on a few real labels.

torch is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.chain import sample_dictionary
from medpipe.errors import DataError

if TYPE_CHECKING:
    from medpipe.assembly import Assembly
    from medpipe.checks.check_report import CheckReport
    from medpipe.steps import Dataset, Sample


def check_loss(assembly: Assembly, report: CheckReport) -> bool:
    """Call the loss on a few real labels, and return that it fits.

    Raises:
        DataError: It does not fit them, or gives something else than one number with a gradient.
    """
    import torch

    data, prepared = report.data, report.prepared
    assert data is not None
    assert prepared is not None
    step = assembly.loss_step(data)
    title = assembly.registry.title(step)
    task = data.task
    if task.step.label_form not in step.labels:
        fits = ", ".join(sorted(step.labels))
        raise DataError(
            f"{title} is for labels of the form {fits}, but those of a {task.kind} task are of "
            f"the form {task.step.label_form}."
        )
    loss = assembly.loss(data, torch.device("cpu"))
    samples = prepared.by_split["training"][: 1 if task.step.dense else 4]
    labels = task.step.encode(
        [_label(assembly, sample, prepared.dataset) for sample in samples], task.names
    )
    sides = labels.shape[2:] if task.step.dense else ()
    predictions = torch.zeros(len(labels), data.outputs, *sides, requires_grad=True)
    value = loss(predictions, labels)
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise DataError(f"{title} gives {got}, not one number. Average over the batch.")
    if not value.requires_grad:
        raise DataError(f"{title} gives a number without a gradient. Compute it with torch alone.")
    return True


def _label(assembly: Assembly, sample: Sample, dataset: Dataset) -> Any:
    """A sample's label; one that is an image as it leaves the transforms."""
    if not dataset.task.step.dense:
        return sample.label
    given = sample_dictionary(sample, dataset.reading)
    return assembly.chain()(given, training=True)["label"]
