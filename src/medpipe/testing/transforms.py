"""Checks of transforms."""

from __future__ import annotations

import itertools
from typing import Any

from medpipe.data.loading.collate import as_tensor
from medpipe.steps import TransformStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.transform_samples import (
    all_fitting,
    axes_changed,
    chain_of,
    changed,
    drawn_sample,
    fitting,
    refusal,
)
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference

TIMES = 256
"""How often a random step may do the same: some change few samples."""


@check(
    TransformStep,
    protects="A transform gets samples as the library loads them.",
    remedy="Mend what it says. A step gets a dictionary with the image under 'image', of shape "
    "(channels, spatial...), and a random or batched one gives an image with as many axes: "
    "squeeze and an index take the channels away.",
)
def takes_samples(case: Case) -> None:
    """It changes a sample with an image or a volume; random or batched, it keeps the axes."""
    fitting(case)
    if said := axes_changed(case):
        raise FailedError(said)


@check(
    TransformStep,
    protects="Who has images must be told why a transform for volumes can't change them.",
    remedy="Count the image's axes, or raise a ValueError that says which images it is for.",
    needs=[takes_samples],
)
def takes_images(case: Case) -> None:
    """It changes images in 2-D, or refuses them with a message."""
    _takes(case, 2)


@check(
    TransformStep,
    protects="Who has volumes must be told why a transform for images can't change them.",
    remedy="Count the image's axes, or raise a ValueError that says which images it is for.",
    needs=[takes_samples],
)
def takes_volumes(case: Case) -> None:
    """It changes volumes in 3-D, or refuses them with a message."""
    _takes(case, 3)


@check(
    TransformStep,
    protects="The steps that follow, the batch and the predictions need all that a sample has.",
    remedy="Return {**sample, 'image': ...}, with the sample's other keys as they are.",
    needs=[takes_samples],
)
def keeps_what_else_a_sample_has(case: Case) -> None:
    """Id, label and extra columns are the same afterwards."""
    for dims, form in all_fitting(case):
        sample = drawn_sample(dims, form)
        found = chain_of(case, prob=1.0)(sample, training=True)
        keys = ("id", "age") if form == "mask" else ("id", "age", "label")
        for key in keys:
            if key not in found:
                raise FailedError(f"it loses {key!r} of a sample")
            if difference(sample[key], found[key]):
                raise FailedError(f"it changes {key!r} of a sample")


@check(
    TransformStep,
    protects="From NaN no training recovers.",
    remedy="Look for divisions by a range or a deviation that may be 0.",
    needs=[takes_samples],
)
def gives_finite_values(case: Case) -> None:
    """The values of an image, and of one with a single value, are finite afterwards."""
    import torch

    for (dims, form), constant in itertools.product(all_fitting(case), (False, True)):
        sample = drawn_sample(dims, form, constant=constant)
        which = "an image of a single value" if constant else "an image"
        try:
            found = as_tensor(chain_of(case, prob=1.0)(sample, training=True)["image"])
        except Exception as error:
            raise FailedError(f"{which} raises {described(error)}") from error
        if not bool(torch.isfinite(found.float()).all()):
            raise FailedError(f"{which} has NaN or infinite values afterwards")


@check(
    TransformStep,
    protects="Augmentation that draws once does the same to every sample.",
    remedy="Draw in draw, or in the transform's call, never in build.",
    needs=[takes_samples],
)
def differs_between_samples(case: Case) -> None:
    """A random step changes equal images of different samples in different ways."""
    _only_random(case)
    dims, form = fitting(case)
    chain = chain_of(case, prob=0.5)
    first = changed(chain, dims, form)
    others = (changed(chain, dims, form, id_=f"sample{place}") for place in range(TIMES))
    if not any(_differ(one, first) for one in others):
        raise FailedError(f"{TIMES} samples with the same image are all changed in the same way")


@check(
    TransformStep,
    protects="In each epoch a sample is to look different.",
    remedy="Draw in draw, or in the transform's call, and keep nothing by the sample's id.",
    needs=[takes_samples, differs_between_samples],
)
def differs_between_epochs(case: Case) -> None:
    """A random step changes a sample in another way in another epoch."""
    _only_random(case)
    dims, form = fitting(case)
    chain = chain_of(case, prob=0.5)
    first = changed(chain, dims, form)
    others = (changed(chain, dims, form, epoch=epoch) for epoch in range(1, TIMES))
    if not any(_differ(one, first) for one in others):
        raise FailedError(f"a sample is changed in the same way in {TIMES} epochs")


@check(
    TransformStep,
    protects="What is not random is cached, and applied to validation and test.",
    remedy="Set random: ClassVar[bool] = True where the step draws anything.",
    needs=[takes_samples],
)
def is_random_only_if_it_says_so(case: Case) -> None:
    """A step that is not random draws nothing."""
    import torch

    if chain_of(case).random[0]:
        raise skip("it is random, and says so")
    dims, form = fitting(case)
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]), _numpy_seed(seed):
            torch.manual_seed(seed)
            found.append(changed(chain_of(case), dims, form))
    if _differ(*found):
        raise FailedError("it gives something else each time, and has random = False")


@check(
    TransformStep,
    protects="A run is repeated by its seed, on any number of workers.",
    remedy="Draw from the generator that draw gets, or from MONAI's self.R, and keep no state.",
    needs=[takes_samples, is_random_only_if_it_says_so],
)
def repeats_for_a_seed(case: Case) -> None:
    """With the same seed, epoch and sample it gives the same, when it is built anew too."""
    dims, form = fitting(case)
    for place in range(4):
        found = [changed(chain_of(case, prob=1.0), dims, form, id_=f"s{place}") for _ in range(2)]
        if _differ(*found):
            raise FailedError("built anew it changes the same sample in another way")


@check(
    TransformStep,
    protects="What a sample gets must not depend on the order of samples, nor on the workers.",
    remedy="Keep no state in the transform between two samples.",
    needs=[takes_samples, repeats_for_a_seed],
)
def depends_on_no_other_sample(case: Case) -> None:
    """A sample is changed in the same way whatever came before."""
    dims, form = fitting(case)
    alone = changed(chain_of(case, prob=1.0), dims, form, id_="last")
    chain = chain_of(case, prob=1.0)
    for place in range(3):
        changed(chain, dims, form, id_=f"before{place}", seed=place + 1)
    if _differ(alone, changed(chain, dims, form, id_="last")):
        raise FailedError("after other samples it changes a sample in another way")


@typical("transform", found_by=takes_samples)
def _use(case: Case) -> Use:
    dims, form = fitting(case)
    chain, sample = chain_of(case, prob=1.0), drawn_sample(dims, form)
    return Use(given=sample, call=lambda: chain(sample, training=True))


def _takes(case: Case, dims: int) -> None:
    taken = [some for some, _ in all_fitting(case)]
    if dims in taken:
        return
    error = refusal(case, dims)
    if error is not None and not str(error).strip():
        said = f"a {type(error).__name__} without a message"
        raise FailedError(f"it refuses what is in {dims}-D by {said}")
    reason = "the number of axes changes" if error is None else described(error)
    raise skip(f"it is for {taken[0]}-D alone: {reason}")


def _differ(one: Any, other: Any) -> bool:
    import torch

    return one.shape != other.shape or not torch.equal(one, other)


def _only_random(case: Case) -> None:
    if not chain_of(case).random[0]:
        raise skip("it is not random")


def _numpy_seed(seed: int) -> Any:
    from medpipe.training.determinism import seeded

    return seeded(seed)
