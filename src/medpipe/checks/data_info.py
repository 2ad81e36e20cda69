"""The `DataInfo` of a pipeline: what leaves the transform chain, measured on a few samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from medpipe.checks.sample_problems import axis_problem, sample_problem
from medpipe.data.chain import Chain, sample_dictionary
from medpipe.errors import DataError, MedpipeError, Problem
from medpipe.registry.parameters import parameter_types
from medpipe.steps import SPLITS, DataInfo, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData

Seen: TypeAlias = "dict[tuple[int, ...], tuple[dict[str, Any], bool]]"
"""By the shape that leaves the chain: a sample before it, and whether random steps were applied."""
TRIED = 4
"""Training samples that are tried once more."""
PROBED = 8
"""How many samples go through the chain, besides the smallest and largest of each kind."""


def data_info_of(
    assembly: Assembly, prepared: PreparedData, chain: Chain
) -> tuple[DataInfo | None, list[Problem]]:
    """Send a few samples through the chain and measure what leaves it.

    Returns:
        What was measured (None if there is a problem), and the problems.
    """
    from medpipe.data.loading.collate import as_tensor

    if prepared.dataset.task.step.dense:
        try:
            chain.check_structures(len(prepared.dataset.task.names))
        except MedpipeError as error:
            return None, [_transform_problem(error)]
    training_ids = {sample.id for sample in prepared.by_split["training"]}
    # Where labels are images, those that are evaluated may have any size.
    seen: Seen = {}
    for sample in probes(prepared):
        for training in (False, True) if sample.id in training_ids else (False,):
            given = sample_dictionary(sample, prepared.dataset.reading)
            try:
                found = chain(given, training=training)
                image = as_tensor(found["image"])
            except (TypeError, ValueError, KeyError):
                problem = Problem(
                    path="transform",
                    message=f"the chain gives no image tensor for the sample {sample.id!r}.",
                    remedy="Begin it with load_image and end it with to_tensor.",
                )
                return None, [problem]
            except MedpipeError as error:
                # Steps that are set for images fail on volumes: report the mixture instead.
                if isinstance(error, DataError):
                    return None, [_loaded_twice(assembly) or _transform_problem(error)]
                other = _mixture(prepared) or _loaded_twice(assembly)
                other = other or axis_problem(assembly, given, training=training, failed=True)
                return None, [other or _transform_problem(error)]
            wrong = sample_problem(assembly, given, found, training=training)
            if wrong is not None:
                return None, [wrong]
            if not bool(image.isfinite().all()):
                message = (
                    f"the image of the sample {sample.id!r} leaves the chain with NaN or infinite "
                    "values."
                )
                remedy = "Look at the file and at the steps that scale intensities."
                return None, [Problem(path="transform", message=message, remedy=remedy)]
            if training or not prepared.dataset.task.step.dense:
                seen.setdefault(tuple(image.shape), (given, training))
    mismatch = _shape_problem(assembly, prepared, seen)
    if mismatch is not None:
        return None, [mismatch]
    ranks = next(iter(seen))
    sides = zip(*(shape[1:] for shape in seen), strict=True)
    spatial_shape = tuple(some[0] if len(set(some)) == 1 else None for some in sides)
    task = prepared.dataset.task
    data = DataInfo(
        task=task,
        channels=ranks[0],
        spatial_shape=spatial_shape,
        spatial_dims=len(spatial_shape),
        outputs=task.outputs,
        statistics=prepared.label_statistics("training"),
    )
    return data, []


def probes(prepared: PreparedData) -> list[Sample]:
    """The samples to try: the extreme ones of each kind, those of the training too, and others.

    Samples of one kind have as many spatial dimensions and channels: 2-D or 3-D, grey or RGB.
    """
    samples = [sample for split in SPLITS for sample in prepared.by_split[split]]
    chosen = {}
    for some in (samples, prepared.by_split["training"]):
        chosen.update({sample.id: sample for sample in _extremes(prepared, some)})
    for sample in samples[:: max(1, len(samples) // PROBED)]:
        chosen[sample.id] = sample
    return list(chosen.values())


def _extremes(prepared: PreparedData, samples: Sequence[Sample]) -> Iterator[Sample]:
    """Of each kind the smallest and the largest, and that with the shortest side of each axis."""
    prints = prepared.scan.fingerprints
    # By shape first: few shapes are compared, however many samples there are.
    of_shape: dict[int, Sample] = {}
    for number, sample in zip(prints.numbers([s.id for s in samples]), samples, strict=True):
        of_shape.setdefault(number, sample)
    by_kind: dict[tuple[int, int], list[tuple[tuple[int, ...], Sample]]] = {}
    for number, sample in of_shape.items():
        shape, channels = prints.kinds[number]
        some = by_kind.setdefault((len(shape), channels or 1), [])
        some.append((shape, sample))
    for (axes, _), some in by_kind.items():
        yield min(some, key=lambda pair: math.prod(pair[0]))[1]
        yield max(some, key=lambda pair: math.prod(pair[0]))[1]
        for axis in range(axes):
            sides = [shape[axis] for shape, _ in some]
            yield some[sides.index(min(sides))][1]


def tried(prepared: PreparedData) -> list[Sample]:
    """A few training samples among the probes."""
    training = {sample.id for sample in prepared.by_split["training"]}
    return [sample for sample in probes(prepared) if sample.id in training][:TRIED]


def _transform_problem(error: MedpipeError) -> Problem:
    text = str(error)
    if text.startswith("transform["):
        path, _, rest = text.partition(", ")
        return Problem(path=path, message=rest)
    return Problem(path="dataset" if isinstance(error, DataError) else "transform", message=text)


def _loaded_twice(assembly: Assembly) -> Problem | None:
    """The problem that images are loaded once more; None where they are not."""
    steps = assembly.configuration.transforms
    places = [place for place, step in enumerate(steps) if step.name == "load_image"]
    if len(places) < 2:
        return None
    return Problem(
        path=f"transform[{places[1]}]",
        message=f"{assembly.registry.title(steps[places[1]])} loads what transform[{places[0]}] "
        "has loaded.",
        remedy="Leave it out: .transform adds to the default chain, which loads images, and "
        ".transforms replaces it.",
    )


def _mixture(prepared: PreparedData) -> Problem | None:
    """The problem that there are both images and volumes; None where there are not."""
    prints = prepared.scan.fingerprints
    by_rank: dict[int, str] = {}
    for sample_id in sorted(prints):
        by_rank.setdefault(len(prints[sample_id].shape), sample_id)
    if len(by_rank) < 2:
        return None
    image, volume = by_rank[min(by_rank)], by_rank[max(by_rank)]
    return Problem(
        path="dataset",
        message=f"there are images and volumes: {image!r} is {_size(prints[image].shape)} and "
        f"{volume!r} is {_size(prints[volume].shape)}.",
        remedy="Choose one kind: a network takes either. Slices of a DICOM series become a volume "
        "with dataset.unit = 'series'.",
    )


def _turned(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The orders that an image's spatial axes can have: the height or the width first."""
    return {shape, (shape[1], shape[0], *shape[2:])}


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _shape_problem(assembly: Assembly, prepared: PreparedData, seen: Seen) -> Problem | None:
    """What is wrong with the shapes that leave the chain."""
    shapes: dict[tuple[int, ...], str] = {shape: given["id"] for shape, (given, _) in seen.items()}
    listed = " and ".join(f"{shape} of {id_!r}" for shape, id_ in list(shapes.items())[:2])
    first = next(iter(shapes))
    if len({len(shape) for shape in shapes}) > 1:
        mixture = _mixture(prepared)
        if mixture is not None:
            return mixture
    prints = prepared.scan.fingerprints
    # A volume without a channel axis has as many axes as an image with one.
    kinds = [prints.kinds[number] for number in prints.numbers(list(shapes.values()))]
    sides_alone = any(
        channels is None and shape in _turned(sides)
        for shape, (sides, channels) in zip(shapes, kinds, strict=True)
    )
    ranks = {len(shape) for shape in shapes}
    if sides_alone or len(ranks) > 1 or not ranks <= {3, 4}:
        given, training = seen[min(shapes, key=len)]
        return axis_problem(assembly, given, training=training) or Problem(
            path="transform",
            message=f"images must leave the chain as (channels, sides...), got {listed}.",
            remedy="Add the step ensure_channel_first after load_image.",
        )
    other = next((shape for shape in shapes if shape[0] != first[0]), None)
    if other is not None:
        return Problem(
            path="dataset",
            message="images have different numbers of channels: "
            f"{first} of {shapes[first]!r} and {other} of {shapes[other]!r}.",
            remedy=_channels_remedy(assembly),
        )
    if len(shapes) > 1 and assembly.configuration.loader.batch_size != 1:
        return Problem(
            path="transform",
            message=f"images leave the chain in different sizes, which do not batch: {listed}.",
            remedy="Add a step such as 'resize' or 'resize_with_pad_or_crop' with spatial_size, or "
            "set loader.batch_size = 1.",
        )
    return None


def _channels_remedy(assembly: Assembly) -> str:
    if "channels" in parameter_types(type(assembly.configuration.dataset)):
        return "Set dataset.channels = 1 or 3 to convert them when they are read."
    return "Choose a data set step with a parameter channels, such as image_folder or table."
