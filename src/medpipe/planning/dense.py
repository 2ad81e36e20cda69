"""The choices of a segmentation: grid, patch or whole image, network, batch.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.checks.sides import all_mirrored
from medpipe.data.chain import sample_dictionary
from medpipe.planning.names import sides_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData
    from medpipe.planning.choices import Images

MULTIPLE = {2: 16, 3: 8}
"""Sides of patches are multiples of this."""
PATCH = {2: 256, 3: 64}
"""The side of a patch, at most; images of no more pixels are trained on as a whole."""
SMALLEST = {2: 128, 3: 32}
"""The side of a patch where the time is short, at least."""
LOOKED_AT = 40
"""Volumes whose grid is measured, where they are too large to be trained on as a whole."""
UNEVEN = 1.1
"""Spacings that differ by more than this factor are made the same."""
LEVELS = 4
"""How often a network halves a side, at most."""
DEEPEST = 3
"""The side of the deepest level, at least."""
FILTERS = (32, 16, 8)
"""Filters of the first level, the strongest network first; each level has twice as many."""
VOXELS = 2**18
"""Pixels or voxels in a batch, about."""
BATCHES = (2, 8)
RATE = 8e-3
"""The learning rate."""
OPTIMIZER = {"step": "adamw", "betas": [0.9, 0.98]}
FEWER = 2
"""By which factor fewer epochs are enough than for labels of whole images: each pixel teaches."""
FORWARD = 1 / 3
"""The part of a training step that its forward pass takes."""

Step = tuple[dict[str, Any], str]


@attrs.frozen(kw_only=True)
class Sides:
    """What tells left from right.

    Attributes:
        named: Two names, of files or structures; None: there are none.
        swapped: Pairs of structures by their numbers, where each is in a pair and nothing else
            has a side: then a flip may swap them.
    """

    named: tuple[str, str] | None = None
    swapped: list[list[int]] = attrs.field(factory=list)

    @classmethod
    def of(cls, files: tuple[str, str] | None, structures: Sequence[str]) -> Sides:
        """By names of files that tell left from right, if there are, and those of structures."""
        return cls(
            named=files or sides_in(structures),
            swapped=[] if files else all_mirrored(structures) or [],
        )


@attrs.frozen(kw_only=True)
class Grid:
    """On which grids images lie, as the transforms orient them.

    Attributes:
        sizes: The sides of the images that were measured.
        spacings: Their spacings in mm; empty where one of them has none.
        all_measured: Whether no image was left out.
    """

    sizes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...] = ()
    all_measured: bool = True

    def common_spacings(self) -> list[tuple[str, tuple[float, ...]]]:
        """Spacings that all could get, the coarsest first; none where theirs are the same.

        The median of each axis, the quarter below it, the finest; and what each is called.
        """
        axes = [sorted(axis) for axis in zip(*self.spacings, strict=True)]
        if all(axis[-1] <= UNEVEN * axis[0] for axis in axes):
            return []
        found = {
            "the median": [float(median(axis)) for axis in axes],
            "the lower quartile": [axis[(len(axis) - 1) // 4] for axis in axes],
            "the finest": [axis[0] for axis in axes],
        }
        return [(name, tuple(round(one, 3) for one in some)) for name, some in found.items()]

    def resampled(self, spacing: tuple[float, ...]) -> list[tuple[int, ...]]:
        """The sides of the images at another spacing, rounded up."""
        return [
            tuple(
                math.ceil(round((n - 1) * a / b, 3)) + 1
                for n, a, b in zip(size, own, spacing, strict=True)
            )
            for size, own in zip(self.sizes, self.spacings, strict=True)
        ]


@attrs.frozen(kw_only=True)
class Dense:
    """The choices for one size of patches.

    Attributes:
        transforms: The chain, each step with its reason.
        patch: The sides that images are trained with.
        windows: Patches in an image, in the median; None: images are trained on as a whole.
    """

    transforms: list[Step]
    patch: tuple[int, ...]
    windows: int | None

    def networks(self) -> list[dict[str, Any]]:
        """U-Nets that fit the patch, the strongest first."""
        halved = [_halvings(side) for side in self.patch]
        strides: list[Any] = []
        for level in range(max(1, *halved)):
            axes = [2 if level < times else 1 for times in halved]
            strides.append(2 if set(axes) == {2} else axes)
        return [
            {
                "step": "unet",
                "channels": [first * 2**level for level in range(len(strides) + 1)],
                "strides": strides,
            }
            for first in FILTERS
        ]

    def batch_size(self, training: int) -> int:
        """2 to 8, by the voxels of the patch."""
        least, most = BATCHES
        return max(1, min(training, max(least, min(most, VOXELS // math.prod(self.patch)))))

    def extra(self, batch: int, validation: int, batches: int) -> float:
        """How many times as long an epoch takes with the prediction of the validation images."""
        return 1 + FORWARD * validation * (self.windows or 1) / (batch * batches)


def grid_of(assembly: Assembly, prepared: PreparedData, images: Images) -> Grid:
    """Measure the grids of volumes with their axes oriented, of images by their sizes alone.

    `assembly` has the steps ``load_image``, ``ensure_channel_first`` and ``orientation``.
    """
    if images.dims == 2:
        return Grid(sizes=tuple(images.sizes))
    samples = [sample for some in prepared.by_split.values() for sample in some]
    largest = max(math.prod(size) for size in images.sizes)
    every = 1 if largest <= 4 * PATCH[3] ** 3 else max(1, len(samples) // LOOKED_AT)
    chain = assembly.chain()
    sizes, spacings = [], []
    for sample in samples[::every]:
        image = chain(sample_dictionary(sample, prepared.dataset.reading), training=False)["image"]
        sizes.append(tuple(map(int, image.shape[1:])))
        if image.meta.get("spacing_of") == "patient":
            spacings.append(tuple(map(float, image.pixdim)))
    return Grid(
        sizes=tuple(sizes),
        spacings=tuple(spacings) if len(spacings) == len(sizes) else (),
        all_measured=every == 1,
    )


def oriented(dims: int) -> list[Step]:
    """The steps that every chain begins with."""
    first: list[Step] = [({"step": "load_image"}, ""), ({"step": "ensure_channel_first"}, "")]
    if dims == 3:
        reason = "axes point to the right, anterior and superior in all volumes"
        first.append(({"step": "orientation", "axcodes": "RAS"}, reason))
    return first


def choices_for(
    grid: Grid,
    images: Images,
    sides: Sides,
    side: int,
    *,
    spacing: tuple[tuple[float, ...], str] | None = None,
    short: bool = False,
) -> Dense:
    """Choose the chain for patches of a side, at most.

    Args:
        grid: The grids of the images.
        images: Their channels.
        sides: What tells left from right.
        side: The longest side of a patch; of 2 dimensions 256, of 3 64, or half of it.
        spacing: That which all images get, and what is said of it; None: they keep theirs.
        short: Whether the time is too short for a larger patch.
    """
    dims = images.dims
    chain = oriented(dims)
    sizes = list(grid.sizes)
    if spacing is not None:
        pixdim, said = spacing
        told = ", ".join(
            f"{min(axis):.3g} to {max(axis):.3g}" for axis in zip(*grid.spacings, strict=True)
        )
        reason = f"spacings differ ({told} mm); {said}"
        chain.append(({"step": "spacing", "pixdim": list(pixdim)}, reason))
        sizes = grid.resampled(pixdim)
    chain.append(_intensities(images))
    axes = list(zip(*sizes, strict=True))
    whole = [_multiple(max(axis), MULTIPLE[dims]) for axis in axes]
    ranges = " x ".join(
        str(low) if low == high else f"{low}-{high}"
        for low, high in ((min(axis), max(axis)) for axis in axes)
    )
    windows = None
    if grid.all_measured and math.prod(whole) <= side**dims:
        patch = whole
        reason = f"sides are {ranges}: images are padded to one size and trained on as a whole"
        chain.append(({"step": "spatial_pad", "spatial_size": patch}, reason))
    else:
        patch = [min(side, _multiple(int(median(axis)), MULTIPLE[dims])) for axis in axes]
        windows = math.prod(
            math.ceil(median(axis) / (0.75 * part)) for axis, part in zip(axes, patch, strict=True)
        )
        reason = f"sides are {ranges}: what is smaller than a patch is padded"
        chain.append(({"step": "spatial_pad", "spatial_size": patch}, reason))
    chain.append(({"step": "to_tensor"}, ""))
    if windows is not None:
        reason = "training takes patches around each structure, and anywhere, equally often"
        if short:
            reason += "; small ones, since the time is too short for more"
        chain.append(({"step": "rand_crop_by_label_classes", "spatial_size": patch}, reason))
    chain.append(_augment(dims, sides))
    return Dense(transforms=chain, patch=tuple(patch), windows=windows)


def _intensities(images: Images) -> Step:
    if images.dims == 2 and max(images.channels, key=images.channels.__getitem__) >= 3:
        return {"step": "scale_intensity"}, "colours are scaled to 0 to 1 in each image"
    reason = "each image gets the mean 0 and the deviation 1, since scanners differ"
    step: dict[str, Any] = {"step": "normalize_intensity"}
    if max(images.channels) > 1:
        return {**step, "channel_wise": True}, reason.replace("image", "channel of an image")
    return step, reason


def _augment(dims: int, sides: Sides) -> Step:
    step: dict[str, Any] = {"step": "augment", "scale_range": 0.1}
    reason = "small rotations, translations and zooms, of image and mask alike"
    if sides.swapped:
        step |= {"flip_axes": [0], "swap_labels": sides.swapped}
        return step, f"{reason}, and flips that swap structures which are each other's other side"
    if sides.named is not None:
        left, right = sides.named
        return step, f"{reason}. No flips: {left!r} and {right!r} name left and right"
    if dims == 3:
        return step, f"{reason}. No flips, since left and right of a body differ"
    step["flip_axes"] = [0]
    return step, f"{reason}, and flips of left and right: remove flip_axes if these have a meaning"


def _halvings(side: int) -> int:
    """How often a side can be halved."""
    times = 0
    while times < LEVELS and side % 2 == 0 and side // 2 >= DEEPEST:
        side, times = side // 2, times + 1
    return times


def _multiple(side: float, of: int) -> int:
    return math.ceil(side / of) * of


def inferer_of(dense: Dense) -> Step:
    """How the network is called for evaluation and prediction, and why."""
    step = {"step": "sliding_window", "roi_size": list(dense.patch)}
    if dense.windows is None:
        return step, (
            "an image is predicted as a whole; a new one that is larger than these, in windows of "
            "their size"
        )
    return step, "images are predicted in overlapping windows of the size of a patch"


def smaller_side(side: int, dims: int) -> int | None:
    """Half the side of a patch; None where it is the smallest."""
    return side // 2 if side // 2 >= SMALLEST[dims] else None
