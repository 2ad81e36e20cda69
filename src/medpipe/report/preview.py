"""A batch of training images, before and after the random steps of the chain.

Matplotlib and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.report.chain_view import ChainView, decoded, through
from medpipe.report.pictures import aspect, grey
from medpipe.report.style import axes, figure
from medpipe.steps import resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.figure import Figure

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import Sample

    Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 1.35
"""Of a picture, in inches."""


def preview_figure(
    assembly: Assembly, prepared: PreparedData, *, count: int, epochs: int
) -> Figure:
    """Draw the first images of the first training batch, as the network gets them.

    Each row is an image: without the random steps, then as drawn for each of the first epochs.
    Values are shown from the lowest to the highest of the image before, so that a change of
    brightness is seen; of volumes the slice in the middle.

    Args:
        assembly: Builds the chain, with what was decided in place of ``"auto"``.
        prepared: The samples.
        count: How many images.
        epochs: How many epochs.

    Raises:
        DataError: An image can't be read.
        StepError: A transform failed.
    """
    samples = _first_batch(assembly, prepared)[:count]
    chain, reading = assembly.chain(), prepared.dataset.reading
    task = prepared.dataset.task
    columns = 1 + epochs
    made = figure(SIDE * columns, SIDE * len(samples) + 0.45)
    for row, sample in enumerate(samples):
        image = decoded(sample, reading)
        view, ratio = ChainView.of(chain, image, reading), aspect(image)
        before = through(chain, sample, reading)
        low, high = float(before.min()), float(before.max())
        drawn = (
            through(chain, sample, reading, training=True, epoch=epoch) for epoch in range(epochs)
        )
        for column, values in enumerate((before, *drawn)):
            shown = axes(made, len(samples), columns, row * columns + column + 1)
            picture = _picture(values, view, low, high)
            shown.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=ratio)
            shown.set_axis_off()
            if row == 0:
                title = "before" if column == 0 else f"epoch {column}"
                shown.set_title(title, fontsize=9, loc="center")
            if column == 0:
                label = task.step.label_text(sample.label, task.names)
                shown.text(0, 1, label, fontsize=7, color="white", **_INSIDE)
    return made


_INSIDE: Any = {
    "ha": "left",
    "va": "top",
    "clip_on": True,
    "bbox": {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "pad": 1},
}


def _first_batch(assembly: Assembly, prepared: PreparedData) -> Sequence[Sample]:
    """The training samples of the first batch of the first epoch, in its order."""
    configuration = assembly.configuration
    samples = prepared.by_split["training"]
    step = prepared.dataset.task.step
    balanced = configuration.loader.sampling == "balanced"
    order = EpochBatchSampler(
        count=len(samples),
        batch_size=resolved(configuration.loader.batch_size),
        drop_last=configuration.loader.drop_last,
        seed=configuration.run.seed,
        classes=step.classes([sample.label for sample in samples]) if balanced else None,
    )
    return [samples[place] for place in next(iter(order)).places]


def _picture(values: Array, view: ChainView, low: float, high: float) -> Array:
    """Values from 0 to 1 of shape (height, width) or (height, width, 3), turned upright."""
    import numpy as np

    channels = [view.back(channel) for channel in values]
    if channels[0].ndim == 3:
        channels = [channel[:, :, channel.shape[2] // 2] for channel in channels]
    shown = np.stack(channels, axis=-1) if len(channels) == 3 else channels[0]
    return grey(shown, low, high if high > low else low + 1)
