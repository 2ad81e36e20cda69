"""What is probably not meant in the images that leave the transforms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.checks.data_info import tried
from medpipe.checks.sides import other_sides, tells_sides
from medpipe.config import DEFAULT_TRANSFORMS
from medpipe.data.chain import sample_dictionary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from medpipe.assembly import Assembly
    from medpipe.config import Configuration
    from medpipe.data.chain import Chain
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import DataInfo, Sample, TransformStep

WIDE, NARROW = 10.0, 0.005
"""Standard deviations of images above and below which networks learn badly."""
ENLARGED = 3
"""How many times as long all sides of an image are where enlarging it costs much for nothing."""


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


def augmentation_notes(configuration: Configuration) -> Iterator[str]:
    """The default augmentation that random steps of the user's own have replaced."""
    names = [step.name for step in configuration.transforms]
    usual: Sequence[str] = getattr(configuration.dataset, "augmentation", ())
    own = [getattr(step, "title", step.name) for step in configuration.transforms if step.random]
    is_default = tuple(names[: len(DEFAULT_TRANSFORMS)]) == DEFAULT_TRANSFORMS
    if is_default and own and usual and not set(usual) & set(own):
        yield (
            f"training images are augmented by {own[0]!r}{' and others' * (len(own) > 1)} in place "
            f"of the data set's {' and '.join(map(repr, usual))}. Add that to the transforms to "
            "have both."
        )


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
    """Random flips where the classes tell left from right, and structures swapped for others."""
    names = data.task.names
    sides, mirrored = tells_sides(names), other_sides(names)
    for place, step in enumerate(assembly.configuration.transforms):
        pairs: Sequence[tuple[int, int]] = getattr(step, "swap_labels", ())
        swapped = {frozenset(pair) for pair in pairs}
        title = f"transform[{place}], {assembly.registry.title(step)},"
        if swapped and not data.task.step.dense:
            yield f"{title} has swap_labels, which swaps structures in masks alone. Leave it out."
        elif wrong := _contradicted(swapped, mirrored, len(names)):
            named = ", ".join(f"{n} is {name!r}" for n, name in enumerate(names, 1))
            yield (
                f"{title} swaps the structures {' and '.join(map(str, wrong))}, which are not each "
                f"other's left and right: {named}. Correct swap_labels."
            )
        elif sides and step.random and _flips_sides(step) and not swapped >= mirrored > set():
            named = ", ".join(map(repr, names))
            remedy = "Leave it out, or flip another axis: 0 is left to right."
            if data.task.step.dense and mirrored:
                given = sorted(sorted(pair) for pair in mirrored)
                swaps = f"let 'augment' swap them: flip_axes = [0], swap_labels = {given}."
                if hasattr(step, "swap_labels") and not hasattr(step, "flip_axes"):
                    swaps = f"let it swap them: swap_labels = {given}."
                remedy = f"Leave it out, flip another axis (0 is left to right), or {swaps}"
            yield (
                f"{title} makes left of right at random, and the classes tell these apart: "
                f"{named}. {remedy}"
            )


def _contradicted(
    swapped: set[frozenset[int]], mirrored: set[frozenset[int]], count: int
) -> list[int] | None:
    """A swapped pair that is not there, or of which a name has its other side elsewhere."""
    sided = {number for pair in mirrored for number in pair}
    wrong = [pair for pair in swapped - mirrored if pair & sided or max(pair) > count]
    return sorted(min(wrong, key=sorted)) if wrong else None


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
