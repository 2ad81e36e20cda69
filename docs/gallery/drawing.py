"""The drawn image before and after each transform, as a training run gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

import medpipe

if TYPE_CHECKING:
    from .examples import Example, Steps

Array = np.ndarray[Any, np.dtype[Any]]

DRAWS = 3
SPLITS = ("training", "validation", "test")
SHOWN = {2: {"size": 56, "seed": 1}, 3: {"size": 36, "seed": 1}}
"""Parameters of `phantom_masks` for images and for volumes."""
CHOSEN = {2: 3, 3: 1}
"""Which of its samples is shown: one that is neither round nor in the middle."""


@attrs.frozen(kw_only=True, eq=False)
class Drawn:
    """An image with its mask.

    Attributes:
        image: Float32, of shape (channels, spatial...).
        mask: 0, 1 for the organ and 2 for the lesion, of shape (spatial...).
    """

    image: Array
    mask: Array


@attrs.frozen(kw_only=True, eq=False)
class Shown:
    """What a transform did.

    Attributes:
        before: The image without the step.
        after: With it: once, or `DRAWS` times for a random step.
        step: The step.
    """

    before: Drawn
    after: tuple[Drawn, ...]
    step: Any


def shown(name: str, example: Example) -> Shown:
    """Send the drawn image through a step with the parameters of its example."""
    own: Steps = ((name, example.parameters),)
    step = medpipe.Registry.discover().transforms[name](**example.parameters)
    return Shown(
        before=trained_on(example.first, example, epochs=1)[0],
        after=trained_on((*example.first, *own), example, epochs=DRAWS if step.random else 1),
        step=step,
    )


def trained_on(steps: Steps, example: Example, *, epochs: int) -> tuple[Drawn, ...]:
    """What a training run gets of the drawn image in its first epochs."""
    builder = (
        medpipe.PipelineBuilder(seed=example.seed, device="cpu")
        .dataset(dataset(example.dims))
        .transforms("load_image", "ensure_channel_first")
        .loader(batch_size=1, workers=0, cache="off")
    )
    for name, parameters in steps:
        builder = builder.transform(name, **parameters)
    loaders = builder.build().build_loaders()
    batches = [next(iter(loaders.training)) for _ in range(epochs)]
    return tuple(
        Drawn(image=np.asarray(batch["image"][0]), mask=np.asarray(batch["label"][0, 0]))
        for batch in batches
    )


def dataset(dims: int) -> medpipe.Dataset:
    """The image that is shown for training, and two others because a run needs them."""
    step = medpipe.Registry.discover().datasets["phantom_masks"]
    drawn = step(samples=8, dims=dims, **SHOWN[dims]).build()  # type: ignore[call-arg]
    first = drawn.samples[CHOSEN[dims]]
    others = [sample for sample in drawn.samples if sample.group != first.group]
    samples = [
        attrs.evolve(sample, split=split, group=None)
        for sample, split in zip((first, *others), SPLITS, strict=False)
    ]
    return attrs.evolve(drawn, samples=samples)
