"""Patches: where samplers cut them, how many an epoch has, and that the cache changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe import CheckFailed, PipelineBuilder, Registry, step
from medpipe.builtin.segmentation.patches import (
    RandCropByLabelClasses,
    RandCropByPosNegLabel,
    RandSpatialCropSamples,
)
from medpipe.data.chain import Chain
from medpipe.errors import StepError
from medpipe.plugin import PatchSource, PatchStep, TransformStep, hookimpl
from medpipe.steps.patches import MOST
from support.blobs import blobs
from support.marked_runs import state

SAMPLERS: dict[str, type[Any]] = {
    one.name: one for one in (RandSpatialCropSamples, RandCropByPosNegLabel, RandCropByLabelClasses)
}


@attrs.frozen(kw_only=True)
class Corner(PatchStep):
    """Cuts around the first voxel of the last structure.

    Attributes:
        spatial_size: The sides of a patch.
        num_samples: How many patches of each image an epoch has.
    """

    name: ClassVar[str] = "corner"

    spatial_size: tuple[int, ...] = (12, 12, 12)
    num_samples: int = 2

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        voxels = source.voxels(source.structures[-1])
        return [float(at) + rng.normal() for at in voxels[0]]


class Plugin:
    @hookimpl
    def medpipe_transforms(self) -> list[type[TransformStep]]:
        return [Corner]


def sample(sides: Sequence[int], seed: int = 0) -> dict[str, Any]:
    """An image whose values are its places, and a label with few voxels: 1, 2 and 255."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(sides))
    label = np.zeros(size, np.uint8)
    label[rng.integers(0, size, 5)] = 1
    label[rng.integers(0, size, 5)] = 255
    label[rng.integers(0, size)] = 2
    return {
        "image": torch.arange(size, dtype=torch.float32).reshape(1, *sides),
        "label": torch.from_numpy(label.reshape(1, *sides)),
        "id": "a",
    }


@given(data=st.data(), name=st.sampled_from(sorted(SAMPLERS)), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_patch_is_a_part_of_the_image_and_of_its_label(
    data: st.DataObject, name: str, seed: int
) -> None:
    sides = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    size = tuple(data.draw(st.integers(1, side)) for side in sides)
    given_ = sample(sides, seed)
    cut = Chain([("cut", SAMPLERS[name](spatial_size=size))], seed=seed)(given_, training=True)
    assert cut["image"].shape == cut["label"].shape == (1, *size)
    first = int(cut["image"].reshape(-1)[0])
    start = np.unravel_index(first, sides)
    where = (slice(None), *(slice(at, at + side) for at, side in zip(start, size, strict=True)))
    for key in ("image", "label"):
        assert torch.equal(cut[key], given_[key][where])


def test_a_small_structure_is_in_each_patch_that_is_cut_for_it() -> None:
    given_ = sample((20, 20, 20), 3)
    around = RandCropByLabelClasses(spatial_size=(6, 6, 6), ratios=(0, 0, 1))
    for epoch in range(20):
        cut = Chain([("cut", around)], seed=0)(given_, training=True, epoch=epoch)
        assert 2 in cut["label"]


def test_the_shares_are_those_that_were_asked_for() -> None:
    given_ = sample((40, 40), 1)
    seen = {
        pos: sum(
            bool(((cut["label"] > 0) & (cut["label"] < 255)).any())
            for epoch in range(200)
            if (
                cut := Chain(
                    [("cut", RandCropByPosNegLabel(spatial_size=(3, 3), pos=pos, neg=1 - pos))],
                    seed=0,
                )(given_, training=True, epoch=epoch)
            )
        )
        for pos in (0.0, 0.5, 1.0)
    }
    assert seen[1.0] == 200
    assert 90 <= seen[0.5] <= 135
    assert seen[0.0] < 40


def test_images_without_a_structure_are_cut_anywhere() -> None:
    given_ = sample((9, 9))
    given_["label"][:] = 0
    for cls in SAMPLERS.values():
        starts = {
            int(
                Chain([("cut", cls(spatial_size=(3, 3)))], seed=0)(
                    given_, training=True, epoch=epoch
                )["image"].reshape(-1)[0]
            )
            for epoch in range(60)
        }
        assert len(starts) > 20


def test_what_is_evaluated_is_not_cut() -> None:
    given_ = sample((9, 9))
    chain = Chain([("cut", RandSpatialCropSamples(spatial_size=(3, 3)))], seed=0)
    assert chain(given_, training=False)["image"].shape == (1, 9, 9)


@given(count=st.integers(1, 3 * MOST), channels=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_voxels_of_a_structure_are_found(count: int, channels: int) -> None:
    label = np.zeros((channels, 200, 70), np.uint8)
    label[-1].reshape(-1)[:count] = 1
    label[-1].reshape(-1)[-1] = 255
    source = PatchSource((200, 70), label)
    assert source.structures == [channels]
    voxels = source.voxels(channels)
    assert np.array_equal(voxels, source.voxels())
    assert len(np.unique(voxels, axis=0)) == len(voxels) == min(count, MOST)
    assert (label[-1][tuple(voxels.T)] == 1).all()
    assert source.voxels(7).shape == (0, 2)


def test_a_patch_larger_than_an_image_names_the_remedy() -> None:
    chain = Chain([("the step", RandSpatialCropSamples(spatial_size=(9, 9)))], seed=0)
    with pytest.raises(StepError) as caught:
        chain(sample((9, 8)), training=True)
    assert str(caught.value) == (
        "the step failed on the sample 'a': ValueError: an image of "
        "(9, 8) is smaller than rand_spatial_crop_samples.spatial_size = [9, 9]. Add "
        "the step 'spatial_pad' before it, with this spatial_size."
    )


@pytest.mark.parametrize(
    "centre", [[np.nan, 1], [np.inf, 1], [1], [1, 2, 3], 1, "12", None, [[1, 2]], [True, False]]
)
def test_a_centre_that_is_no_place_is_named(centre: Any) -> None:
    class Odd(Corner):
        def centre(self, source: PatchSource, rng: np.random.Generator) -> Any:
            return centre

    chain = Chain([("transform[1], odd,", Odd(spatial_size=(3, 3)))], seed=0)
    with pytest.raises(StepError, match=r"odd, failed on the sample 'a'.* Return 2 finite numbers"):
        chain(sample((9, 9)), training=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_samples": 0}, "num_samples = 0. Give a whole number from 1"),
        ({"num_samples": -1}, "num_samples = -1"),
        ({"spatial_size": (0, 3)}, "spatial_size = (0, 3). Make it a tuple"),
        ({"spatial_size": ()}, "spatial_size = ()"),
    ],
)
def test_a_sampler_of_a_plugin_with_wrong_numbers_is_named(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepError) as caught:
        Chain([("transform[1], corner,", Corner(**changes))], seed=0)
    assert str(caught.value).startswith(f"transform[1], corner has {said}")


def test_a_sampler_without_a_field_or_a_method_is_named() -> None:
    @attrs.frozen(kw_only=True)
    class Bare(PatchStep):
        name: ClassVar[str] = "bare"
        spatial_size: tuple[int, ...] = (3, 3)

    class Counted(Bare):
        num_samples = 1

    class Placed(Bare):
        centre = Corner.centre

    for cls, said in ((Counted, "no centre method"), (Placed, "no num_samples")):
        with pytest.raises(StepError, match=f"bare has {said}"):
            Chain([("bare,", cls())], seed=0)


def test_two_samplers_are_refused() -> None:
    cut = RandSpatialCropSamples(spatial_size=(3, 3))
    with pytest.raises(StepError, match=r"transform\[1\] and transform\[2\] both cut patches"):
        Chain([("transform[1]", cut), ("transform[2]", cut)], seed=0)


def test_several_patches_of_a_step_of_monai_are_refused_with_the_remedy() -> None:
    class Two(TransformStep):
        name: ClassVar[str] = "two"

        def build(self) -> Any:
            return lambda one: [one, one]

    with pytest.raises(StepError, match=r"returned 2 patches .* make it a PatchStep"):
        Chain([("two", Two())], seed=0)(sample((3, 3)), training=True)


def with_patches(
    root: Path, *, sampler: Any = "corner", registry: Registry, batch_size: int = 4, **loader: Any
) -> Any:
    builder: PipelineBuilder = blobs(root, epochs=2, registry=registry, **loader)
    builder = builder.loader(batch_size=batch_size)
    size = (12, 12, 12)
    return (
        builder.transform(sampler, before="augment")
        .inferer("sliding_window", roi_size=size)
        .build()
    )


@pytest.fixture
def registry() -> Registry:
    from support.blobs import REGISTRY

    return REGISTRY.with_plugin(Plugin(), name="patches")


def test_an_epoch_has_so_many_patches_of_each_sample(tmp_path: Path, registry: Registry) -> None:
    pipeline = with_patches(tmp_path, registry=registry)
    loader = pipeline.build_loaders().training
    batches = list(loader)
    ids = [id_ for batch in batches for id_ in batch["id"]]
    assert sorted(ids) == sorted(2 * sorted(set(ids)))
    images = torch.cat([batch["image"] for batch in batches])
    first, second = (images[place] for place, id_ in enumerate(ids) if id_ == ids[0])
    assert first.shape == second.shape == (1, 12, 12, 12)
    assert not torch.equal(first, second)
    again = list(loader)
    assert [id_ for batch in again for id_ in batch["id"]] != ids


@pytest.mark.long
def test_the_cache_and_workers_change_nothing(tmp_path: Path, registry: Registry) -> None:
    runs = [
        with_patches(tmp_path / "data", registry=registry, **loader).run(tmp_path / str(number))
        for number, loader in enumerate(
            ({"cache": "off"}, {"cache": "auto"}, {"cache": "off", "workers": 2})
        )
    ]
    states = [state(run) for run in runs]
    assert states[0] == states[1] == states[2]


def test_a_sampler_too_large_is_found_by_the_check(tmp_path: Path, registry: Registry) -> None:
    sampler = step("rand_crop_by_label_classes", spatial_size=(99, 99, 99))
    with pytest.raises(CheckFailed, match=r"smaller than rand_crop_by_label_classes\.spatial_size"):
        with_patches(tmp_path, sampler=sampler, registry=registry).run(tmp_path / "run")


def test_an_epoch_counts_its_patches(tmp_path: Path, registry: Registry) -> None:
    """So that no batch is said to be larger than an epoch, or an epoch to be one iteration."""
    pipeline = with_patches(tmp_path, registry=registry, batch_size=20)
    report = pipeline.check()
    assert report.iterations == (2, 4)
    assert not any("loader.batch_size = 20 is not below" in one for one in report.warnings)


@pytest.mark.parametrize("ratios", [(1, 1), (1, 1, 1, 1)])
def test_ratios_must_be_one_for_each_class(
    tmp_path: Path, registry: Registry, ratios: tuple[float, ...]
) -> None:
    sampler = step("rand_crop_by_label_classes", spatial_size=(12, 12, 12), ratios=ratios)
    (problem,) = with_patches(tmp_path, sampler=sampler, registry=registry).check().problems
    assert problem.path.startswith("transform[")
    assert f"'ratios' has {len(ratios)} numbers, and 3 are needed" in problem.message


def test_ratios_of_a_sampler_that_nobody_checked_are_refused() -> None:
    source = PatchSource((8, 8), np.array([[[0, 3] * 4] * 8], np.uint8))
    sampler = RandCropByLabelClasses(spatial_size=(4, 4), ratios=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="'ratios' has 3 numbers, and 4 are needed"):
        sampler.centre(source, np.random.default_rng(0))
