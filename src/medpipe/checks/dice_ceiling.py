"""What the transforms cost a perfect answer: the highest Dice on the grids of the files.

A network answers on the grid on which the images leave the transforms. Where that is coarser than
a file's own, or cut, even a right answer isn't the mask that was drawn.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.errors import Problem
from medpipe.steps import has_image_label
from medpipe.system.text import counted
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from medpipe.assembly import Assembly
    from medpipe.data.chain import Chain
    from medpipe.data.readers.file_grid import Array, FileGrid
    from medpipe.steps import Dataset, LabelImage, Reading, Sample, Task

LOW = 0.9
"""The ceiling of a structure below which its step is warned of."""
NEARLY = 0.9995
"""What is not told from 1."""
CASES = 6
"""How many masks are tried, at most."""
VOXELS = 1 << 27
"""How many voxels these have together, at most; the first is tried in any case."""
PLACES = (0.0, 0.5, 0.25)
"""Which masks of a structure are tried, from the smallest on, as shares of their number."""
LOSSLESS = {
    *("orientation", "spatial_pad", "border_pad", "divisible_pad", "flip", "rotate90"),
    "ensure_channel_first",
}
"""Steps that move pixels and lose none."""
MARGIN = 2
"""Voxels around a structure that are looked at."""


@attrs.frozen(kw_only=True)
class Ceiling:
    """The Dice of a perfect answer.

    Attributes:
        name: Of the structure.
        by_case: By sample id, of the masks that were tried and have it.
    """

    name: str
    by_case: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The mean, which is the ceiling of a mean Dice."""
        return fmean(self.by_case.values())

    @property
    def lowest(self) -> tuple[str, float]:
        """The case that loses most, and its Dice."""
        return min(self.by_case.items(), key=lambda pair: pair[1])

    @property
    def lost(self) -> list[str]:
        """The cases in which nothing is left of it."""
        return [id_ for id_, dice in self.by_case.items() if not dice]


def ceiling_findings(
    assembly: Assembly, dataset: Dataset, counts: Mapping[str, tuple[int, ...]], chain: Chain
) -> tuple[list[Problem], list[str], list[str]]:
    """Send a few masks through the transforms and back.

    Args:
        assembly: Names the steps.
        dataset: The samples.
        counts: The voxels of each structure, by sample id.
        chain: The transforms.

    Returns:
        A problem for each structure that is lost in all masks that were tried, a warning for each
        that loses much, and a note that tells the ceilings.

    Raises:
        MedpipeError: A mask can't be read, or a step failed.
    """
    found = ceilings(dataset, counts, chain)
    problems: list[Problem] = []
    warnings: list[str] = []
    by_id = {sample.id: sample for sample in dataset.samples}
    for place, ceiling in enumerate(found):
        if not ceiling.by_case or (ceiling.mean >= LOW and not ceiling.lost):
            continue
        case, lowest = ceiling.lowest
        step = _culprit(chain, by_id[case], dataset, place)
        title, remedy = _named(assembly, step)
        tried = counted(len(ceiling.by_case), "mask")
        path = f"transform[{step}]"
        if len(ceiling.lost) == len(ceiling.by_case):
            message = (
                f"{title} loses the structure {ceiling.name!r} altogether in all of the {tried} "
                f"that were tried, such as that of {case!r}."
            )
            problems.append(Problem(path=path, message=message, remedy=remedy))
        elif ceiling.lost:
            warnings.append(
                f"{path}, {title}, loses the structure {ceiling.name!r} altogether in "
                f"{len(ceiling.lost)} of the {tried} that were tried, such as that of {case!r}. "
                f"{remedy}"
            )
        else:
            warnings.append(
                f"even a perfect answer for {ceiling.name!r} has a Dice of "
                f"{ceiling.mean:.2f} on the grids of the files (mean of {tried}; "
                f"{lowest:.2f} for {case!r}): {path}, {title}, loses its detail. {remedy}"
            )
    return problems, warnings, _notes(found)


def ceilings(
    dataset: Dataset, counts: Mapping[str, tuple[int, ...]], chain: Chain
) -> list[Ceiling]:
    """The ceiling of each structure, in the masks that are tried: always the same.

    Raises:
        MedpipeError: A mask can't be read, or a step failed.
    """
    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.data.readers.labels import read_label

    names = dataset.task.names
    moving = [step for _, step in chain.steps_for_workers if step.spatial and not step.random]
    if all(step.name in LOSSLESS for step in moving):
        return []
    by_name: list[dict[str, float]] = [{} for _ in names]
    voxels = 0
    for sample in _chosen(dataset.samples, counts, len(names)):
        left = chain.cached_stage(sample_dictionary(sample, dataset.reading))
        left = chain.per_sample_stage(left, training=False, epoch=0)
        grid = FileGrid.of(left["image"])
        if grid is None or not _comparable(left, grid):
            break  # another check says so
        truth = _truth(sample, dataset.reading, grid, read_label)
        for place, dice in _dice(left["label"], truth, grid, dataset.task):
            by_name[place][sample.id] = dice
        voxels += math.prod(grid.file_shape)
        if voxels > VOXELS:
            break
    return [Ceiling(name=name, by_case=some) for name, some in zip(names, by_name, strict=True)]


def _notes(found: Sequence[Ceiling]) -> list[str]:
    known = [ceiling for ceiling in found if ceiling.by_case]
    if all(ceiling.lowest[1] >= NEARLY for ceiling in known):
        return []
    told = ", ".join(f"{ceiling.name} {ceiling.mean:.3f}" for ceiling in known)
    cases = len({id_ for ceiling in known for id_ in ceiling.by_case})
    return [
        "the transforms change the grid, and a perfect answer has on the grids of the files a Dice "
        f"of: {told} (means of {counted(cases, 'mask')}, the smallest among them)."
    ]


def _chosen(
    samples: Sequence[Sample], counts: Mapping[str, tuple[int, ...]], names: int
) -> list[Sample]:
    """The masks to try: of each structure the smallest, small structures first."""
    by_name = []
    for place in range(names):
        having = sorted(
            (counts[sample.id][place], sample.id, at)
            for at, sample in enumerate(samples)
            if counts.get(sample.id, (0,) * names)[place]
        )
        if having:
            by_name.append(having)
    by_name.sort(key=lambda having: having[len(having) // 2])
    places = [having[int(share * (len(having) - 1))][2] for share in PLACES for having in by_name]
    return [samples[at] for at in list(dict.fromkeys(places))[:CASES]]


def _comparable(left: Mapping[str, Any], grid: FileGrid) -> bool:
    """Whether a sample has a label, with as many axes as its file."""
    return has_image_label(left) and left["label"].ndim == 1 + len(grid.file_shape)


def _truth(sample: Sample, reading: Reading, grid: FileGrid, read: Any) -> Array:
    label: LabelImage = sample.label  # type: ignore[assignment]
    return grid.of_file(read(label, None, reading))


def _dice(
    label: torch.Tensor, truth: Array, grid: FileGrid, task: Task
) -> Iterator[tuple[int, float]]:
    """The Dice of each structure that is in the truth: its place, and what its mask becomes."""
    import numpy as np
    import torch

    left = np.asarray(torch.as_tensor(label))
    overlapping = task.step.label_form == "masks"
    for place in range(len(task.names)):
        channel, value = (place, 1) if overlapping else (0, place + 1)
        known = truth[channel] != IGNORED
        there = truth[channel] == value
        if there.any():
            yield place, _dice_of(left[channel] == value, there, known, grid)


def _dice_of(left: Array, truth: Array, known: Array, grid: FileGrid) -> float:
    """The Dice of one structure, whose mask comes back as a network's outputs do."""
    import numpy as np
    import torch

    if not left.any():
        return 0.0
    here = _box(left)
    there = _box_in_file(here, grid, _box(truth))
    back = attrs.evolve(
        grid,
        affine=_from(grid.affine, here),
        file_affine=_from(grid.file_affine, there),
        file_shape=tuple(part.stop - part.start for part in there),
    ).to_file(
        torch.from_numpy(np.ascontiguousarray(left[here])).float()[None],
        lambda outputs: (outputs > 0.5).to(torch.uint8),
    )
    answer = back[0].numpy().astype(bool) & known[there]
    both = int((answer & truth[there]).sum())
    return 2 * both / (int(answer.sum()) + int(truth.sum()))


def _box(mask: Array) -> tuple[slice, ...]:
    """Where a mask is, and a margin around it."""
    import numpy as np

    parts = []
    for axis, side in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        there = np.flatnonzero(mask.any(axis=others))
        low, high = int(there[0]) - MARGIN, int(there[-1]) + 1 + MARGIN
        parts.append(slice(max(0, low), min(side, high)))
    return tuple(parts)


def _box_in_file(
    box: tuple[slice, ...], grid: FileGrid, also: tuple[slice, ...]
) -> tuple[slice, ...]:
    """The part of the file that holds a part of the image behind the transforms, and another."""
    import numpy as np

    linear, shift = grid.file_to_chain()
    ends = np.stack(np.meshgrid(*[(part.start, part.stop - 1) for part in box], indexing="ij"), -1)
    corners = (ends.reshape(-1, len(box)) - shift) @ np.linalg.inv(linear).T
    parts = []
    for low, high, one, side in zip(
        np.floor(corners.min(0)), np.ceil(corners.max(0)), also, grid.file_shape, strict=True
    ):
        start = max(0, min(int(low), one.start))
        parts.append(slice(start, min(side, max(int(high) + 1, one.stop))))
    return tuple(parts)


def _from(affine: Array, box: tuple[slice, ...]) -> Array:
    """The affine of a part of an image."""
    import numpy as np

    moved = np.eye(4)
    moved[: len(box), 3] = [part.start for part in box]
    found: Array = affine @ moved
    return found


def _culprit(chain: Chain, sample: Sample, dataset: Dataset, place: int) -> int:
    """The step at which the Dice of a structure falls most."""
    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.data.readers.labels import read_label

    worst, before, found = 0.0, 1.0, 0
    for step, left in enumerate(chain.stages(sample_dictionary(sample, dataset.reading))):
        grid = FileGrid.of(left["image"]) if has_image_label(left) else None
        if grid is None or not _comparable(left, grid):
            continue
        truth = _truth(sample, dataset.reading, grid, read_label)
        dice = dict(_dice(left["label"], truth, grid, dataset.task))[place]
        if before - dice > worst:
            worst, found = before - dice, step
        before = dice
    return found


def _named(assembly: Assembly, place: int) -> tuple[str, str]:
    """A step's title, and what to do about it."""
    step = assembly.configuration.transforms[place]
    remedies = {
        "spacing": "Choose a smaller pixdim, or leave it out.",
        "resize": "Choose a larger spatial_size, or leave it out.",
    }
    remedy = remedies.get(step.name, "Let it keep more of the image, or leave it out.")
    return assembly.registry.title(step), remedy
