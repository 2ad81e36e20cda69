"""Compare the batched forms of transforms with the same steps on one sample at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.checks.data_info import tried
from medpipe.data.chain import Chain, path_and_name, sample_dictionary
from medpipe.errors import Problem
from medpipe.steps import DrawnStep, has_image_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import TransformStep

TOLERANCE = 1e-5
"""The largest difference, relative to the largest value."""
LABELS = 1e-3
"""The share of voxels whose label may differ: rounding decides those midway between two."""


def chain_findings(
    assembly: Assembly, prepared: PreparedData, chain: Chain
) -> tuple[list[Problem], list[str]]:
    """Send training samples through the chain, one at a time and as a batch, on the same draws.

    Returns:
        A problem for each step that gives something else for a batch, and warnings about what
        leaves the chain.

    Raises:
        MedpipeError: A step failed; it is named.
    """
    import torch

    from medpipe.data.loading.collate import as_tensor, collate

    chosen = tried(prepared)
    if not chosen:
        return [], []
    samples = [
        chain.per_sample_stage(
            chain.cached_stage(sample_dictionary(sample, prepared.dataset.reading)),
            training=True,
            epoch=0,
        )
        for sample in chosen
    ]
    shape = as_tensor(samples[0]["image"]).shape
    samples = [sample for sample in samples if as_tensor(sample["image"]).shape == shape]
    problems: list[Problem] = []
    for whole, step in chain.steps[len(chain.steps_for_workers) :]:
        path, title = path_and_name(whole)
        one = Chain([(title, step)], seed=assembly.configuration.run.seed)
        batch = collate(samples, prepared.dataset.task)
        together = one.batched_stage(batch, training=True, epoch=0)
        samples = [one(sample, training=True) for sample in samples]
        said = _difference(together, [as_tensor(sample["image"]) for sample in samples], batch)
        if has_image_label(batch):
            alone = torch.stack([as_tensor(sample["label"]) for sample in samples])
            said = said or _labels_difference(together["label"], alone)
        if said:
            message = f"{title} {said}."
            problems.append(Problem(path=path, message=message, remedy=_remedy(step)))
    images = [as_tensor(sample["image"]) for sample in samples]
    if not problems and all(bool((image == image.flatten()[0]).all()) for image in images):
        value = float(images[0].flatten()[0])
        return [], [
            f"each of the {len(images)} training images that were tried leaves the transforms with "
            f"a single value, such as {value:g}."
        ]
    return problems, []


def _remedy(step: TransformStep) -> str:
    """What to do about a step that gives something else for a batch."""
    if isinstance(step, DrawnStep) and type(step).apply_batch is DrawnStep.apply_batch:
        return (
            "Mend its changed, which gets the images of a batch and a draw for each: image i is to "
            "depend on itself and on draws[i] alone. What is random is drawn in values."
        )
    return "Mend its apply_batch, or leave it out: then samples are changed one by one."


def _labels_difference(together: Any, alone: Any) -> str:
    """What labels that are images are in a batch, in which they should not be."""
    import torch

    found = torch.as_tensor(together)
    if found.shape != alone.shape:
        return f"gives labels of the shape {tuple(found.shape[1:])}, not {tuple(alone.shape[1:])}"
    share = float((found != alone).float().mean())
    if share > LABELS:
        return f"gives other labels for a batch than one at a time: {share:.1%} of the voxels"
    return ""


def _difference(together: Any, single: Sequence[Any], batch: Any) -> str:
    """What a batch is in which it should not be, as the end of a sentence."""
    import torch

    lost = sorted(set(batch) - set(together))
    if lost:
        return f"loses {', '.join(map(repr, lost))} of a batch"
    images = together["image"]
    if not isinstance(images, torch.Tensor) or len(images) != len(single):
        return "gives no tensor of a batch's images"
    expected = torch.stack([image.float() for image in single])
    if images.shape != expected.shape:
        shapes = f"{tuple(images.shape[1:])}, not {tuple(expected.shape[1:])}"
        return f"gives images of the shape {shapes} as one at a time"
    found = images.as_subclass(torch.Tensor).float()
    largest = float((found - expected).abs().max())
    if not largest <= TOLERANCE * max(1.0, float(expected.abs().max())):
        return (
            "gives other images for a batch than for its samples one at a time: the largest "
            f"difference is {largest:g}"
        )
    if has_image_label(batch):
        return ""
    labels, before = torch.as_tensor(together["label"]), torch.as_tensor(batch["label"])
    same = labels.shape == before.shape
    if not same or not torch.allclose(labels.double(), before.double(), equal_nan=True):
        return "changes the labels of a batch"
    return ""
