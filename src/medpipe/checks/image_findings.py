"""What is probably not meant in the images that leave the transforms."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from medpipe.checks.data_info import tried
from medpipe.data.chain import sample_dictionary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from medpipe.assembly import Assembly
    from medpipe.data.chain import Chain
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import DataInfo, Sample, TransformStep

WIDE, NARROW = 10.0, 0.005
"""Standard deviations of images above and below which networks learn badly."""
ENLARGED = 3
"""How many times as long all sides of an image are where enlarging it costs much for nothing."""
SIDES = ({"left", "right"}, {"l", "r"}, {"od", "os"})
"""Words in the names of classes that tell left from right; the last are those of eyes."""


def image_findings(
    assembly: Assembly, prepared: PreparedData, data: DataInfo, chain: Chain
) -> list[str]:
    """Send a few training samples through the chain as in an evaluation.

    Returns:
        Warnings.

    Raises:
        MedpipeError: A step failed; it is named.
    """
    from medpipe.data.loading.collate import as_tensor

    def image_of(sample: Sample) -> torch.Tensor:
        given = sample_dictionary(sample, prepared.dataset.reading)
        return as_tensor(chain(given, training=False)["image"]).float()

    chosen = tried(prepared)
    images = [image_of(sample) for sample in chosen]
    warnings = [*_repeated(assembly), *_mirrored(assembly, data)]
    if chosen and not bool(image_of(chosen[0]).equal(images[0])):
        warnings.append(
            f"the transforms give another image of the sample {chosen[0].id!r} each time in an "
            "evaluation, so that a step draws random numbers without saying so: they are drawn "
            "once and kept, and for test images too. Make it a TransformStep with random = True, "
            "or take one of 'medpipe plugins'."
        )
    warnings += _scaled(images)
    warnings += _sized(prepared, chosen, images)
    return warnings


def _scaled(images: Sequence[torch.Tensor]) -> Iterator[str]:
    """Values of another order than the weights of a new network are made for."""
    spreads = [float(image.std()) for image in images if image.numel() > 1]
    if not spreads or not max(spreads) > 0:  # images of one value are warned of elsewhere
        return
    spread = sum(spreads) / len(spreads)
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    if spread > WIDE or spread < NARROW:
        why = "networks learn badly from such large values"
        if spread < NARROW:
            why = "networks hardly see such small differences; perhaps they are scaled twice"
        yield (
            f"images leave the transforms with values from {low:g} to {high:g} (standard "
            f"deviation {spread:.2g}), and {why}. Scale them once, for example by "
            "'scale_intensity' or 'normalize_intensity'."
        )


def _sized(
    prepared: PreparedData, tried: Sequence[Sample], images: Sequence[torch.Tensor]
) -> Iterator[str]:
    """Images that are enlarged, or have got another number of sides."""
    pairs = [
        (tuple(prepared.scan.fingerprints[sample.id].shape), tuple(image.shape[1:]))
        for sample, image in zip(tried, images, strict=True)
    ]
    if any(len(before) != len(after) for before, after in pairs):
        before, after = next(pair for pair in pairs if len(pair[0]) != len(pair[1]))
        yield (
            f"the image of a sample has {len(before)} sides ({_size(before)}) in its file and "
            f"{len(after)} ({_size(after)}) after the transforms. Look at the steps that resize, "
            "whose spatial_size has a number for each side."
        )
    elif pairs and all(
        after_side >= ENLARGED * before_side
        for before, after in pairs
        for before_side, after_side in zip(sorted(before), sorted(after), strict=True)
    ):
        before, after = pairs[0]
        times = math.prod(after) / math.prod(before)
        yield (
            f"images are enlarged, such as from {_size(before)} to {_size(after)}: that adds no "
            f"detail, and a network takes about {times:.0f} times as long. Resize to less."
        )


def _repeated(assembly: Assembly) -> Iterator[str]:
    """Deterministic steps that are in the chain twice."""
    steps = assembly.configuration.transforms
    for place, step in enumerate(steps):
        first = next((at for at, other in enumerate(steps[:place]) if other == step), None)
        if first is not None and not step.random:
            yield (
                f"transform[{place}], {assembly.registry.title(step)}, repeats transform[{first}]. "
                "Leave it out if that is not meant: .transform adds to the default chain, "
                ".transforms replaces it."
            )


def _mirrored(assembly: Assembly, data: DataInfo) -> Iterator[str]:
    """Random flips where the classes tell left from right."""
    words = [set(re.split(r"[\W_]+", name.casefold())) for name in data.task.names]
    sides = next((pair for pair in SIDES if _told_apart(pair, words)), None)
    if sides is None:
        return
    for place, step in enumerate(assembly.configuration.transforms):
        if step.random and _flips_sides(step):
            named = ", ".join(map(repr, data.task.names))
            yield (
                f"transform[{place}], {assembly.registry.title(step)}, makes left of right at "
                f"random, and the classes tell these apart: {named}. Leave it out, or flip "
                "another axis: 0 is left to right."
            )


def _told_apart(pair: set[str], words: Sequence[set[str]]) -> bool:
    found = [some & pair for some in words]
    return {word for some in found if len(some) == 1 for word in some} == pair


def _flips_sides(step: TransformStep) -> bool:
    """Whether a step flips the first axis, as it lies in the image."""
    flipped: Any = getattr(step, "flip_axes", None)  # that of augment
    if flipped is not None:
        return 0 in flipped
    if "flip" not in step.name:
        return False
    axes: Any = getattr(step, "spatial_axis", None)
    return axes is None or 0 in (axes if isinstance(axes, (tuple, list)) else (axes,))


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
