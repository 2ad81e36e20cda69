"""Collate samples to a batch.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medpipe.data.readers.file_grid import FileGrid
from medpipe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.steps import Task


Batch = dict[str, Any]
"""A batch by key: ``image``, ``label`` and a list for every other."""


def collate(samples: Sequence[Batch], task: Task) -> Batch:
    """Make one batch of samples.

    Args:
        samples: Each with ``image`` of shape (channels, spatial...), ``label`` and ``id``.
        task: What the labels mean.

    Returns:
        ``image`` of shape (batch, channels, spatial...), ``label`` as the task has it (see
        `medpipe.steps.TrainingParts`), and a list for every other key that all samples have. Where
        labels are images, ``grid`` is a list of where each lies (see `FileGrid`), and there is no
        ``label`` for files without one.

    Raises:
        DataError: The images don't have one shape; the message names two samples.
    """
    shared = set(samples[0]).intersection(*samples) - {"image", "label", "reading"}
    batch: Batch = {key: [sample[key] for sample in samples] for key in sorted(shared, key=str)}
    batch["image"] = _stacked(samples)
    labels = [sample["label"] for sample in samples]
    if task.step.dense:
        batch["grid"] = [FileGrid.of(sample["image"]) for sample in samples]
        if None in labels:  # of files without a label
            return batch
        labels = [as_tensor(label) for label in labels]
    batch["label"] = task.step.encode(labels, task.names)
    return batch


def _stacked(samples: Sequence[Batch]) -> torch.Tensor:
    images = [as_tensor(sample["image"]) for sample in samples]
    for sample, image in zip(samples, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"The images {samples[0]['id']!r} {tuple(images[0].shape)} and {sample['id']!r} "
                f"{tuple(image.shape)} leave the transform chain in different shapes and can't be "
                "in one batch. Add a step such as 'resize' with spatial_size, or set "
                "loader.batch_size = 1."
            )
    return torch.stack(images)


def as_tensor(image: Any) -> torch.Tensor:
    """A plain tensor: what a transform gave, without MONAI's metadata."""
    tensor = image if isinstance(image, torch.Tensor) else torch.as_tensor(image)
    return tensor.as_subclass(torch.Tensor) if type(tensor) is not torch.Tensor else tensor
