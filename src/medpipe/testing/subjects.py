"""The data that checks try steps on: small, drawn from a fixed seed, of each task.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.steps import DataInfo, Task

if TYPE_CHECKING:
    import torch

SIDES = {2: (64, 64), 3: (32, 32, 32)}
"""The sides of the images, by the number of axes: enough for most networks' poolings."""
NAMES = ("a", "b", "c")
CASES = 12


def labels_of(task: Task, *, count: int = CASES, dims: int = 2) -> list[Any]:
    """Labels as a data set gives them: each name is there, and its absence too."""
    import numpy as np

    rng, names = np.random.default_rng(0), len(task.names)
    if task.step.dense:
        raise NotImplementedError("labels that are images are drawn by masks_of")
    if task.step.label_form == "class":
        return [place % names for place in range(count)]
    if task.step.label_form == "findings":
        return [tuple(float((place >> bit) & 1) for bit in range(names)) for place in range(count)]
    return [tuple(map(float, rng.normal(size=names))) for _ in range(count)]


def data_info(
    kind: str, *, dims: int = 2, channels: int = 1, names: int = 3, side: int | None = None
) -> DataInfo:
    """What was measured on drawn data of a built-in task.

    Args:
        kind: ``multiclass``, ``multilabel``, ``regression`` or ``segmentation``.
        dims: 2 or 3.
        channels: Of the images.
        names: How many classes, findings, targets or structures.
        side: The images' sides; by default those of `SIDES`.
    """
    task = Task(kind=kind, names=(*NAMES, *(f"name{place}" for place in range(3, names)))[:names])
    if task.step.dense:
        counts = (1000, *(100 for _ in task.names))
        statistics: Any = {"voxel_counts": counts[: task.outputs]}
    else:
        statistics = task.step.measure(labels_of(task, dims=dims), task.names)
    return DataInfo(
        task=task,
        channels=channels,
        spatial_shape=SIDES[dims] if side is None else (side,) * dims,
        spatial_dims=dims,
        outputs=task.outputs,
        statistics=statistics,
    )


def images(data: DataInfo, *, count: int = 2, seed: int = 0) -> torch.Tensor:
    """Images of a batch: float32 from 0 to 1 of shape (count, channels, spatial...)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    known = zip(data.spatial_shape, SIDES[data.spatial_dims], strict=True)
    sides = (side or other for side, other in known)
    return torch.rand((count, data.channels, *sides), generator=generator)
