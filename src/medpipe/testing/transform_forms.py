"""Checks of transforms: their forms for batches and for graphs, and what they do to masks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from medpipe.data.loading.collate import as_tensor, collate
from medpipe.steps import PatchStep, TransformStep
from medpipe.tasks.label_image import IGNORED
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.subjects import data_info
from medpipe.testing.transform_samples import (
    LOADED,
    VALUES,
    Form,
    all_fitting,
    as_loaded,
    chain_of,
    changed,
    drawn_sample,
    fitting,
    with_mask,
)
from medpipe.testing.transforms import takes_samples
from medpipe.testing.watched import difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

CLOSE = 1e-5
DRAWS = 8
"""How many samples are tried where random steps may show a fault or not."""
PLACE = (3, 20, 9)
"""Where an image is changed to see where that shows: no flip and no turn leaves it there."""
NEAR = 3
"""So many pixels beside it count as the same place, for filters."""
LIKE = 0.05
"""How little of the largest change is there, where pixels were moved."""


@check(
    TransformStep,
    protects="Batches are changed where samples would be: both must train the same network.",
    remedy="Write apply for one sample and apply_batch for all from the same few lines; of a "
    "DrawnStep, let changed treat each image by its own values alone.",
    needs=[takes_samples],
)
def changes_batches_as_samples(case: Case) -> None:
    """Its form for batches gives what samples get one at a time, to 1e-5."""
    for dims, form in _batched(case):
        chain = chain_of(case, prob=1.0)
        samples = [drawn_sample(dims, form, id_=f"s{place}", seed=place) for place in range(4)]
        alone = [as_tensor(chain(sample, training=True)["image"]).float() for sample in samples]
        batch = chain.batched_stage(_collated(samples, form, dims), training=True, epoch=0)
        for place, (one, other) in enumerate(zip(alone, batch["image"], strict=True)):
            if one.shape != other.shape:
                raise FailedError(
                    f"shapes differ: {tuple(other.shape)} in a batch, {tuple(one.shape)} alone"
                )
            if not (largest := _apart(one, other)) <= CLOSE:
                raise FailedError(f"image {place} of a batch differs by up to {largest:.2g}")


@check(
    TransformStep,
    protects="The cache holds images in few bits, and gives them to such a step as they are.",
    remedy="Compute in float32 inside of apply_batch, or of a DrawnStep's changed, or leave "
    "accepts_integer_images False.",
    needs=[takes_samples],
)
def changes_integers_as_floats(case: Case) -> None:
    """With accepts_integer_images it gives for uint8 what it gives for float32."""
    if not case.step.accepts_integer_images:
        raise skip("accepts_integer_images is False")
    dims, form = _batched(case)[0]
    chain = chain_of(case, prob=1.0)
    samples = [drawn_sample(dims, form, id_=f"s{place}", seed=place) for place in range(3)]
    batch = _collated(samples, form, dims)
    wide = (batch["image"] * 255).round()
    narrow = {**batch, "image": wide.byte()}
    one = chain.batched_stage({**batch, "image": wide}, training=True, epoch=0)["image"]
    other = chain.batched_stage(narrow, training=True, epoch=0, narrow=True)["image"].float()
    if not (largest := _apart(one.float(), other)) <= CLOSE:
        raise FailedError(f"uint8 and float32 give images that differ by up to {largest:.2g}")


@check(
    TransformStep,
    protects="A mask with values that no structure has is no mask.",
    remedy="Move label by nearest neighbour: build_with_label gives a transform of both keys.",
    needs=[takes_samples],
)
def keeps_labels_in_their_set(case: Case) -> None:
    """A mask has no value afterwards that it had not before."""
    for dims, place in itertools.product(with_mask(case), range(DRAWS)):
        label = changed(chain_of(case, prob=1.0), dims, "mask", key="label", id_=f"s{place}")
        new = set(label.unique().tolist()) - {*VALUES, IGNORED}
        if new:
            raise FailedError(
                f"a mask of {list(VALUES)} has the values {sorted(new)[:4]} afterwards"
            )


@check(
    TransformStep,
    protects="A mask that stays where it was no longer lies on its structure.",
    remedy="Set spatial: ClassVar[bool] = True, and change label as image.",
    needs=[takes_samples, keeps_labels_in_their_set],
)
def moves_masks_with_images(case: Case) -> None:
    """Where a step moves pixels, it moves those of a mask in the same way."""
    if not case.step.spatial:
        raise skip("it says that it moves no pixels")
    shares = [
        share
        for dims, place in itertools.product(with_mask(case), range(DRAWS))
        if (share := _overlap(case, dims, f"s{place}")) is not None
    ]
    if not shares:
        raise skip("it leaves too little of the structure that is tried")
    if (worst := min(shares)) < 0.6:
        raise FailedError(f"a structure and its mask overlap by {worst:.0%} afterwards")


@check(
    TransformStep,
    protects="Steps that move pixels must move masks too; the library asks the step which it is.",
    remedy="Set spatial: ClassVar[bool] = True where the step flips, crops, turns or resizes.",
    needs=[takes_samples],
)
def moves_pixels_only_if_it_says_so(case: Case) -> None:
    """A step with spatial = False leaves pixels where they are, and masks as they are."""
    if case.step.spatial:
        raise skip("it says that it moves pixels")
    dims, form = fitting(case)
    if form not in ("image", "mask"):
        raise skip("it takes no plain image")
    moved = [_moved(case, dims, form, f"s{place}") for place in range(DRAWS)]
    told = [one for one in moved if one is not None]
    if told and all(told):
        raise FailedError("what is changed in one place of an image shows in another")
    if form == "mask":
        sample = drawn_sample(dims, form)
        label = as_tensor(chain_of(case)(sample, training=True)["label"])
        if difference(as_tensor(sample["label"]), label):
            raise FailedError("it changes a mask")


@check(
    TransformStep,
    protects="An export has the preprocessing in its graph: it must give the run's numbers.",
    remedy="Write graph_form for float32 of shape (batch, channels, spatial...), or give None.",
    needs=[takes_samples],
)
def has_an_equal_graph_form(case: Case) -> None:
    """What a graph holds of it gives what the step gives."""
    form = case.step.graph_form()
    if form is None:
        raise skip("it has no form for a graph")
    dims, kind = fitting(case)
    if kind not in (*LOADED, "bare"):
        raise skip("it loads images, which a graph gets loaded")
    sample = drawn_sample(dims, kind)
    expected = as_tensor(chain_of(case)(sample, training=False)["image"]).float()
    found = form(as_tensor(sample["image"]).float()[None])[0]
    if found.shape != expected.shape:
        raise FailedError(f"its graph form gives the shape {tuple(found.shape)}")
    if not (largest := _apart(expected, found)) <= 1e-4:
        raise FailedError(f"its graph form differs by up to {largest:.2g}")


def _moved(case: Case, dims: int, form: Form, id_: str) -> bool | None:
    """Whether a change of the input shows in another place alone; None: it shows nowhere."""
    import torch

    found = []
    for bright in (False, True):
        sample = drawn_sample(dims, form, id_=id_)
        before = as_tensor(sample["image"]).float()
        if bright:
            changed_there = before.clone()
            changed_there[(slice(None), *(slice(at, at + 5) for at in PLACE[:dims]))] = 0.9
            sample["image"] = as_loaded(sample["image"], changed_there)
        image = as_tensor(chain_of(case, prob=1.0)(sample, training=True)["image"]).float()
        if image.shape[1:] != before.shape[1:]:
            sides = tuple(before.shape[1:]), tuple(image.shape[1:])
            raise FailedError(f"it changes the sides from {sides[0]} to {sides[1]}")
        found.append(image)
    apart = (found[1] - found[0]).abs().nan_to_num(0.0).amax(dim=0)
    near = torch.zeros_like(apart, dtype=torch.bool)
    near[tuple(slice(at - NEAR, at + 5 + NEAR) for at in PLACE[:dims])] = True
    most = float(apart.max())
    return float(apart[near].max()) < LIKE * most if most > 0 else None


def _overlap(case: Case, dims: int, id_: str) -> float | None:
    """How much of a structure in image and mask is in both afterwards; None: hardly any is left."""
    chain, sample = chain_of(case, prob=1.0), drawn_sample(dims, "mask", id_=id_)
    sample["image"] = as_loaded(sample["image"], (sample["label"] == 1).float())
    found = chain(sample, training=True)
    image, label = as_tensor(found["image"]).float() > 0.5, as_tensor(found["label"]) == 1
    if image.shape[1:] != label.shape[1:]:
        raise FailedError(
            f"image {tuple(image.shape)} and mask {tuple(label.shape)} differ in shape"
        )
    both, either = int((image & label).sum()), int((image | label).sum())
    return both / either if either >= 20 else None


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value where that is above 1."""
    return float((one - other).abs().max()) / max(1.0, float(one.abs().max()))


def _batched(case: Case) -> list[tuple[int, Form]]:
    chain = chain_of(case)
    if isinstance(case.step, PatchStep) or not case.step.batched or chain.steps_for_workers:
        raise skip("it has no form for batches")
    found = [one for one in all_fitting(case) if one[1] in LOADED]
    if not found:
        raise skip("it takes what batches have no more: files, or images without channels")
    return found


def _collated(samples: Sequence[dict[str, Any]], form: Form, dims: int) -> dict[str, Any]:
    kind = "segmentation" if form == "mask" else "multiclass"
    return collate(list(samples), data_info(kind, dims=dims).task)
