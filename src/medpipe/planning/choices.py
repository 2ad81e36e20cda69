"""The choices that follow from what was measured: transforms, network, batches, epochs."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.planning.choice import Choice
from medpipe.steps.auto import UNEVEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.data.preparation import PreparedData

LARGEST = {2: 224, 3: 64}
"""The longest side that images are resized to, by their dimensions."""
MULTIPLE = {2: 16, 3: 8}
"""Sides become multiples of this, so that networks halve them without a rest."""
SMALLEST = {2: 64, 3: 32}
"""The longest side to which images are halved where the time is short, at least."""
SMALL = 96
"""The longest side of images that are all of one size and stay as they are."""
EPOCHS = (5, 100)
"""The least and the most epochs of a plan."""
ITERATIONS = 300
"""Iterations for which more epochs are planned where batches are few, and fewer where many."""
BESIDES = 1.5
"""What training takes beside its forward and backward passes: loading, validation, steps."""
EACH = 0.4
"""Seconds of each epoch, for a checkpoint and what begins anew."""
WANTED, WANTED_ITERATIONS = 20, (200, 1000)
"""Epochs, and the least and the most iterations, for which the time must be enough."""


@attrs.frozen(kw_only=True)
class Images:
    """What the images of a data set are.

    Attributes:
        sizes: How many there are of each size: width, height and, in 3-D, depth.
        channels: How many there are of each number of channels.
    """

    sizes: Mapping[tuple[int, ...], int]
    channels: Mapping[int, int]

    @property
    def dims(self) -> int:
        """2 or 3: that of most."""
        return Counter(len(size) for size in self.sizes).most_common(1)[0][0]

    def sides(self) -> list[int]:
        """The median of each axis."""
        fitting = {size: n for size, n in self.sizes.items() if len(size) == self.dims}
        return [
            int(median(s[axis] for s, n in fitting.items() for _ in range(min(n, 1000))))
            for axis in range(self.dims)
        ]


def images_of(prepared: PreparedData) -> Images:
    """Count sizes and channels of all images."""
    prints = prepared.scan.fingerprints
    samples = [sample.id for some in prepared.by_split.values() for sample in some]
    sizes: Counter[tuple[int, ...]] = Counter()
    channels: Counter[int] = Counter()
    for number, count in Counter(prints.numbers(samples)).items():
        (height, width, *depth), has = prints.kinds[number]
        sizes[width, height, *depth] += count  # as load_image gives them
        channels[has or 1] += count
    return Images(sizes=sizes, channels=channels)


def channel_choice(images: Images) -> Choice | None:
    """Grey or RGB, where the files differ."""
    if len(images.channels) < 2:
        return None
    told = " and ".join(f"{n:,} have {c}" for c, n in sorted(images.channels.items()))
    if images.channels.get(3, 0) > images.channels.get(1, 0):
        return Choice(name="channels", value=3, reason=f"channels differ: {told}")
    return Choice(name="channels", value=1, reason=f"channels differ: {told}")


def transform_choices(
    images: Images, sides: tuple[str, str] | None, *, sizes_matter: bool
) -> list[tuple[dict[str, Any], str]]:
    """The chain, each step with its reason.

    Args:
        images: What they are.
        sides: Names that say left and right; None: there are none.
        sizes_matter: Whether the label may be a size, as in a regression: then nothing is zoomed,
            and images are padded rather than resized where they are small enough.
    """
    dims, median_sides = images.dims, images.sides()
    chain: list[tuple[dict[str, Any], str]] = [
        ({"step": "load_image"}, ""),
        ({"step": "ensure_channel_first"}, ""),
    ]
    size = _target(images, median_sides)
    if size is not None:
        least = [min(s[axis] for s in images.sizes if len(s) == dims) for axis in range(dims)]
        reason = (
            f"sides are from {' x '.join(map(str, least))}, in the median "
            f"{' x '.join(map(str, median_sides))}"
        )
        largest = [max(s[axis] for s in images.sizes if len(s) == dims) for axis in range(dims)]
        if sizes_matter and max(largest) <= LARGEST[dims]:
            padded = _multiples(largest, MULTIPLE[dims])
            reason += "; padded, since to resize them would change the sizes of what they show"
            chain.append(({"step": "spatial_pad", "spatial_size": padded}, reason))
        else:
            if any(one < wanted for one, wanted in zip(least, size, strict=True)):
                reason += "; small ones are enlarged"
            chain.append(({"step": "resize", "spatial_size": size}, reason))
    chain.append(
        ({"step": "scale_intensity"}, "each image is scaled to 0 to 1, since scanners differ")
    )
    chain.append(({"step": "to_tensor"}, ""))
    augment: dict[str, Any] = {"step": "augment"}
    reason = "small rotations and translations"
    if not sizes_matter:
        augment["scale_range"] = 0.1
        reason = "small rotations, translations and zooms"
    if sides is not None:
        reason += f". No flips: {sides[0]!r} and {sides[1]!r} name left and right"
    elif dims == 2:
        augment["flip_axes"] = [0]
        reason += ", and flips of left and right: remove flip_axes if these have a meaning"
    else:
        reason += ". No flips, since left and right of a body differ"
    chain.append((augment, reason))
    return chain


def smaller(
    chain: Sequence[tuple[dict[str, Any], str]],
) -> list[tuple[dict[str, Any], str]] | None:
    """The chain with images of half the sides; None where it resizes none, or they are small."""
    sizes = [step["spatial_size"] for step, _ in chain if step["step"] == "resize"]
    if not sizes or max(sizes[0]) // 2 < SMALLEST[len(sizes[0])]:
        return None
    size = _multiples([side // 2 for side in sizes[0]], MULTIPLE[len(sizes[0])])
    reason = f"half of {' x '.join(map(str, sizes[0]))}, for which the time is too short"
    return [
        (({**step, "spatial_size": size}, reason) if step["step"] == "resize" else (step, why))
        for step, why in chain
    ]


def _multiples(sides: Sequence[int], of: int) -> list[int]:
    return [math.ceil(side / of) * of for side in sides]


def _target(images: Images, median_sides: Sequence[int]) -> list[int] | None:
    """The size that images are resized to; None where they stay as they are."""
    dims = images.dims
    largest, multiple = LARGEST[dims], MULTIPLE[dims]
    if len(images.sizes) == 1 and max(median_sides) <= (SMALL if dims == 2 else largest):
        return None
    return [max(multiple, min(largest, side)) for side in _multiples(median_sides, multiple)]


def sampling_choice(prepared: PreparedData) -> Choice | None:
    """Evenly drawn classes, where some are rare."""
    task = prepared.dataset.task
    classes = task.step.classes([sample.label for sample in prepared.by_split["training"]])
    if not classes:
        return None
    counts = Counter(classes).most_common()
    if counts[0][1] < UNEVEN * counts[-1][1]:
        return None
    (most, many), (least, few) = counts[0], counts[-1]
    reason = f"{many:,} samples of {task.names[most]!r}, {few:,} of {task.names[least]!r}"
    return Choice(name="sampling", value="balanced", reason=reason)


def epoch_seconds(batches: int, seconds: float) -> float:
    """How long an epoch takes.

    Args:
        batches: Iterations in it.
        seconds: Of an iteration's forward and backward pass.
    """
    return BESIDES * seconds * batches + EACH


def epochs_for(batches: int, seconds: float, budget: float) -> int:
    """As many epochs as the time allows, and at least 5, or those of 300 iterations if fewer."""
    least, most = EPOCHS
    affordable = math.floor(budget / epoch_seconds(batches, seconds))
    enough = math.ceil(ITERATIONS / batches)
    return max(min(least, enough), min(max(most, enough), affordable))


def is_affordable(batches: int, seconds: float, budget: float) -> bool:
    """Whether the time is enough for as many epochs as a network is wanted to be trained."""
    return epoch_seconds(batches, seconds) * wanted_epochs(batches) <= budget


def wanted_epochs(batches: int) -> int:
    """Epochs for which the time must be enough, or a lighter network is taken."""
    least, most = (math.ceil(iterations / batches) for iterations in WANTED_ITERATIONS)
    return max(least, min(WANTED, most))
