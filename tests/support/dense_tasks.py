"""What tests of networks, losses and inferers for segmentation need to know of the data."""

from __future__ import annotations

from medpipe.plugin import DataInfo, Segmentation, Task


def dense_data(
    shape: tuple[int | None, ...] = (32, 32),
    *,
    names: int = 2,
    channels: int = 1,
    overlapping: bool = False,
) -> DataInfo:
    """Images of a shape, with so many structures."""
    step = Segmentation(overlapping=overlapping)
    task = Task(kind=step, names=[f"structure {place}" for place in range(names)])
    return DataInfo(
        task=task,
        channels=channels,
        spatial_shape=shape,
        spatial_dims=len(shape),
        outputs=task.outputs,
    )
