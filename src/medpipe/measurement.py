"""What leaves the transform chain, measured on a few real samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.data.chain import Chain, sample_dictionary
from medpipe.errors import DataError, MedpipeError, Problem
from medpipe.parameters import parameter_types
from medpipe.steps import PARTS, DataInfo, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData

PROBED = 8
"""How many samples go through the chain, besides the smallest and largest of each kind."""


def measure(
    assembly: Assembly, prepared: PreparedData, chain: Chain
) -> tuple[DataInfo | None, list[Problem]]:
    """Send a few samples through the chain and measure what leaves it.

    Returns:
        What was measured (None if there is a problem), and the problems.
    """
    from medpipe.data.loader import as_tensor

    training_ids = {sample.id for sample in prepared.parts["training"]}
    shapes: dict[tuple[int, ...], str] = {}
    for sample in probes(prepared):
        for training in (False, True) if sample.id in training_ids else (False,):
            given = sample_dictionary(sample, prepared.dataset.reading)
            try:
                image = as_tensor(chain(given, training=training)["image"])
            except (TypeError, ValueError, KeyError):
                problem = Problem(
                    path="transform",
                    message=f"the chain gives no image tensor for the sample {sample.id!r}.",
                    remedy="Begin it with load_image and end it with to_tensor.",
                )
                return None, [problem]
            except MedpipeError as error:
                return None, [_transform_problem(error)]
            if not bool(image.isfinite().all()):
                message = (
                    f"the image of the sample {sample.id!r} leaves the chain with NaN or infinite "
                    "values."
                )
                remedy = "Look at the file and at the steps that scale intensities."
                return None, [Problem(path="transform", message=message, remedy=remedy)]
            shapes.setdefault(tuple(image.shape), sample.id)
    mismatch = _shape_problem(assembly, shapes)
    if mismatch is not None:
        return None, [mismatch]
    ranks = next(iter(shapes))
    sides = zip(*(shape[1:] for shape in shapes), strict=True)
    spatial_shape = tuple(some[0] if len(set(some)) == 1 else None for some in sides)
    task = prepared.dataset.task
    data = DataInfo(
        task=task,
        channels=ranks[0],
        spatial_shape=spatial_shape,
        spatial_dims=len(spatial_shape),
        outputs=len(task.names),
        class_counts=prepared.class_counts("training"),
    )
    return data, []


def probes(prepared: PreparedData) -> list[Sample]:
    """The samples to try: for each number of channels the smallest and the largest, and others."""
    prints = prepared.scan.fingerprints
    samples = [sample for part in PARTS for sample in prepared.parts[part]]
    by_kind: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        shape = prints[sample.id].shape
        by_kind.setdefault((len(shape), shape[-1] if len(shape) > 2 else 1), []).append(sample)
    chosen: dict[str, Sample] = {}
    for some in by_kind.values():
        for pick in (min, max):
            extreme = pick(some, key=lambda sample: _pixels(prints[sample.id].shape))
            chosen[extreme.id] = extreme
    for sample in samples[:: max(1, len(samples) // PROBED)]:
        chosen[sample.id] = sample
    return list(chosen.values())


def _pixels(shape: Sequence[int]) -> int:
    return shape[0] * shape[1]


def _transform_problem(error: MedpipeError) -> Problem:
    text = str(error)
    if text.startswith("transform["):
        path, _, rest = text.partition(", ")
        return Problem(path=path, message=rest)
    return Problem(path="dataset" if isinstance(error, DataError) else "transform", message=text)


def _shape_problem(assembly: Assembly, shapes: dict[tuple[int, ...], str]) -> Problem | None:
    listed = " and ".join(f"{shape} of {id_!r}" for shape, id_ in list(shapes.items())[:2])
    first = next(iter(shapes))
    if any(len(shape) not in (3, 4) for shape in shapes) or len({len(s) for s in shapes}) > 1:
        return Problem(
            path="transform",
            message=f"images must leave the chain as (channels, sides...), got {listed}.",
            remedy="Add the step ensure_channel_first after load_image.",
        )
    if any(shape[0] != first[0] for shape in shapes):
        return Problem(
            path="dataset",
            message=f"images have different numbers of channels: {listed}.",
            remedy=_channels_remedy(assembly),
        )
    if len(shapes) > 1 and assembly.configuration.loader.batch_size > 1:
        return Problem(
            path="transform",
            message=f"images leave the chain in different sizes, which do not batch: {listed}.",
            remedy="Add a step such as 'resize' with spatial_size, or set loader.batch_size = 1.",
        )
    return None


def _channels_remedy(assembly: Assembly) -> str:
    if "channels" in parameter_types(type(assembly.configuration.dataset)):
        return "Set dataset.channels = 1 or 3 to convert them when they are read."
    return "Choose a data set step with a parameter channels, such as image_folder or table."
