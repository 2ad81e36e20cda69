"""What is wrong with a sample behind the transforms: lost or changed entries, another type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.chain import Chain
from medpipe.errors import MedpipeError, Problem
from medpipe.steps import DrawnStep, LabelImage, has_image_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medpipe.assembly import Assembly
    from medpipe.steps import TransformStep

KEPT = ("label", "id")
"""What is needed behind the transforms besides the image."""


def sample_problem(
    assembly: Assembly, given: Mapping[str, Any], found: Mapping[str, Any], *, training: bool
) -> Problem | None:
    """What the chain did to a sample that it must not do, with the step that did it.

    Args:
        assembly: Holds the transforms.
        given: The sample before them.
        found: The sample behind them.
        training: Whether the random steps were applied.
    """
    import torch

    from medpipe.data.loading.collate import as_tensor

    sample_id = given["id"]
    dense = isinstance(given["label"], LabelImage)
    if dense:
        wrong = _label_problem(assembly, given, found, training=training)
        if wrong is not None:
            return wrong
    keys = KEPT[1:] if dense else KEPT
    key = next((one for one in keys if not _kept(one, given, found)), None)
    if key is not None:
        path, title, _ = _step(
            assembly, given, lambda _, sample: _kept(key, given, sample), training=training
        )
        if key not in found:
            return Problem(
                path=path,
                message=f"{title} loses {key!r} of the sample {sample_id!r}.",
                remedy='Return all of the sample: {**sample, "image": ...}.',
            )
        return Problem(
            path=path,
            message=f"{title} changes {key!r} of the sample {sample_id!r} from {given[key]!r} to "
            f"{found[key]!r}.",
            remedy="Labels and ids are the data set's to give: change the image alone.",
        )
    kind = as_tensor(found["image"]).dtype
    if kind is not torch.float32:
        name = str(kind).removeprefix("torch.")
        return Problem(
            path="transform",
            message=f"the image of the sample {sample_id!r} leaves the chain with values of the "
            f"type {name}, and networks compute with float32.",
            remedy="End the chain with the step cast_to_type, or let your own step give "
            "image.float().",
        )
    return None


def axis_problem(
    assembly: Assembly, given: Mapping[str, Any], *, training: bool, failed: bool = False
) -> Problem | None:
    """The step that takes an axis of a sample's image away; None where none does.

    That is the first random or batched one, which never may, or else the last that does.

    Args:
        assembly: Holds the transforms.
        given: The sample before them.
        training: Whether the random steps were applied.
        failed: Whether a step failed on the sample; only one that never may is then looked for.
    """
    found, before = None, ()
    steps = [(assembly.registry.title(s), s) for s in assembly.configuration.transforms]
    for place, (title, step) in enumerate(steps):
        # From the beginning each time: what a step draws depends on its place.
        chain = Chain(steps[: place + 1], seed=assembly.configuration.run.seed)
        try:
            image = chain(given, training=training).get("image")
        except MedpipeError:
            return None
        after = tuple(getattr(image, "shape", ()))
        never = step.random or step.batched
        if 0 < len(after) < len(before) and (never or not failed):
            found = Problem(
                path=f"transform[{place}]",
                message=f"{title} takes an axis away: the image of the sample {given['id']!r} has "
                f"the shape {before} before it and {after} after it.",
                remedy=_axis_remedy(assembly, step),
            )
            if never:
                break
        before = after
    return found


def _axis_remedy(assembly: Assembly, step: TransformStep) -> str:
    if isinstance(step, DrawnStep):
        return (
            "Let its changed give as many axes as it gets, (images, channels, sides...), also of "
            "one channel: squeeze and an index take them away."
        )
    if assembly.registry.is_builtin(step):
        return "Leave it out, or set it so that the axis of the channels stays."
    return (
        "Let it give as many axes as it gets, (channels, sides...), also of one channel: squeeze "
        "and an index take them away."
    )


def _label_problem(
    assembly: Assembly, given: Mapping[str, Any], found: Mapping[str, Any], *, training: bool
) -> Problem | None:
    """What the chain did to a label that is an image, with the step that did it."""
    if _fits(found):
        return None
    # The first step loads both: what is not loaded yet can't fit.
    path, title, sample = _step(
        assembly, given, lambda place, sample: not place or _fits(sample), training=training
    )
    label = sample.get("label")
    shape = tuple(getattr(label, "shape", ())) or type(label).__name__
    return Problem(
        path=path,
        message=f"{title} leaves the sample {given['id']!r} with an image of the shape "
        f"{tuple(getattr(sample.get('image'), 'shape', ()))} and a label of {shape}.",
        remedy="A step that moves pixels changes both: set spatial = True, and change "
        'sample["label"] as sample["image"], by nearest neighbour.',
    )


def _fits(sample: Mapping[str, Any]) -> bool:
    """Whether the label is an image on the grid of the sample's image."""
    if not has_image_label(sample):
        return False
    image, label = sample["image"], sample["label"]
    return tuple(image.shape[1:]) == tuple(label.shape[1:])


def _kept(key: str, given: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return key in found and _same(found[key], given[key])


def _step(
    assembly: Assembly,
    given: Mapping[str, Any],
    right: Callable[[int, Mapping[str, Any]], bool],
    *,
    training: bool,
) -> tuple[str, str, Mapping[str, Any]]:
    """The path and the title of the first step that leaves a sample wrong, and what it leaves."""
    sample = dict(given)
    for place, step in enumerate(assembly.configuration.transforms):
        title = assembly.registry.title(step)
        one = Chain([(title, step)], seed=assembly.configuration.run.seed)
        sample = one({"id": given["id"], **sample}, training=training)
        if not right(place, sample):
            return f"transform[{place}]", title, sample
    return "transform", "the chain", sample


def _same(one: Any, other: Any) -> bool:
    """Whether two labels, of numbers or tuples of these, are equal; NaN is NaN."""
    import numpy as np

    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    try:
        return bool(
            np.array_equal(np.asarray(one, float), np.asarray(other, float), equal_nan=True)
        )
    except (TypeError, ValueError):
        return False
