"""A batch of training images, before and after the random steps of the chain.

Matplotlib and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.report.chain_view import ChainView, decoded, with_label
from medpipe.report.contours import colour_of, outlines
from medpipe.report.masks import MOST, outlined
from medpipe.report.pictures import aspect, grey
from medpipe.report.style import MUTED, axes, figure, settings
from medpipe.steps import resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
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
    brightness is seen; of volumes the slice in the middle. Labels that are images are outlined,
    and of a volume the slice with most of its label is shown.

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
    columns, dense = 1 + epochs, task.step.dense
    made = figure(SIDE * columns, SIDE * len(samples) + (0.75 if dense else 0.45))
    for row, sample in enumerate(samples):
        image = decoded(sample, reading)
        view, ratio = ChainView.of(chain, image, reading), aspect(image)
        before = with_label(chain, sample, reading)
        low, high = float(before[0].min()), float(before[0].max())
        drawn = (
            with_label(chain, sample, reading, training=True, epoch=epoch)
            for epoch in range(epochs)
        )
        for column, (values, mask) in enumerate((before, *drawn)):
            shown = axes(made, len(samples), columns, row * columns + column + 1)
            depth = _depth(mask, view)
            picture = _picture(values, view, low, high, depth)
            shown.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=ratio)
            if mask is not None:
                _outline(shown, mask, view, depth, len(task.names))
            shown.set_axis_off()
            if row == 0:
                title = "before" if column == 0 else f"epoch {column}"
                shown.set_title(title, fontsize=9, loc="center")
            if column == 0 and not dense:
                label = task.step.label_text(sample.label, task.names)
                shown.text(0, 1, label, fontsize=7, color="white", **_INSIDE)
    if dense:
        _legend(made, task.names)
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
    return [samples[place % len(samples)] for place in next(iter(order)).places]


def _picture(values: Array, view: ChainView, low: float, high: float, depth: int | None) -> Array:
    """Values from 0 to 1 of shape (height, width) or (height, width, 3), turned upright."""
    import numpy as np

    channels = [_flat(channel, view, depth) for channel in values]
    shown = np.stack(channels, axis=-1) if len(channels) == 3 else channels[0]
    return grey(shown, low, high if high > low else low + 1)


def _flat(channel: Array, view: ChainView, depth: int | None) -> Array:
    """A channel turned upright; of a volume a slice, the one in the middle by default."""
    turned = view.back(channel)
    if turned.ndim < 3:
        return turned
    return turned[:, :, turned.shape[2] // 2 if depth is None else depth]


def _depth(mask: Array | None, view: ChainView) -> int | None:
    """The slice with most of a mask."""
    import numpy as np

    if mask is None or mask.ndim < 4:
        return None
    slices = view.back(np.asarray((mask > 0).any(axis=0))).sum(axis=(0, 1))
    return int(slices.argmax()) if slices.any() else None


def _outline(shown: Axes, mask: Array, view: ChainView, depth: int | None, names: int) -> None:
    import numpy as np

    flat = np.stack([_flat(channel, view, depth) for channel in mask])
    for one in outlined(flat, names):
        for line in outlines(one.mask):
            # Pixels have their centres at whole numbers here.
            shown.plot(line[:, 0] - 0.5, line[:, 1] - 0.5, color=one.colour, linewidth=1.1)


def _legend(made: Figure, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    marks = [
        Patch(facecolor=colour_of(place), edgecolor=MUTED, linewidth=0.5, label=name)
        for place, name in enumerate(names[:MOST])
    ]
    columns = min(len(marks), 4)
    with settings():
        made.legend(handles=marks, loc="outside lower center", ncols=columns)
