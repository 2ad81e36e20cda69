"""What tests of networks, losses and inferers for segmentation need to know of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from medpipe.plugin import DataInfo, Task, TaskStep


@attrs.frozen(kw_only=True)
class Exclusive(TaskStep):
    """Each pixel has one structure, or the background."""

    name: ClassVar[str] = "exclusive"
    label_form: ClassVar[str] = "mask"
    dense: ClassVar[bool] = True

    def outputs(self, names: Sequence[str]) -> int:
        return len(names) + 1


@attrs.frozen(kw_only=True)
class Overlapping(TaskStep):
    """A pixel may have several structures."""

    name: ClassVar[str] = "overlapping"
    label_form: ClassVar[str] = "masks"
    dense: ClassVar[bool] = True


def dense_data(
    shape: tuple[int | None, ...] = (32, 32),
    *,
    names: int = 2,
    channels: int = 1,
    overlapping: bool = False,
) -> DataInfo:
    """Images of a shape, with so many structures."""
    step = Overlapping() if overlapping else Exclusive()
    task = Task(kind=step, names=[f"structure {place}" for place in range(names)])
    return DataInfo(
        task=task,
        channels=channels,
        spatial_shape=shape,
        spatial_dims=len(shape),
        outputs=task.outputs,
    )
