"""Steps that move pixels move labels that are images with them, and invent no value."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from medpipe.builtin.transforms.augment import Augment
from medpipe.builtin.transforms.transform_table import TABLE, Transform
from medpipe.data.chain import Chain
from medpipe.errors import StepError
from medpipe.plugin import TransformStep
from support.transform_parameters import ONE_DIMENSION_ONLY, STEPS, required

VALUES = (0, 2, 5, 255)
MOVING = [entry for entry in TABLE if entry.spatial and entry.name not in {"squeeze_dim"}]
STAYING = [entry for entry in TABLE if not entry.spatial]


def pair(dims: int, seed: int = 0) -> dict[str, Any]:
    """An image whose values are those of its label, so that both must move alike."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, len(VALUES), (1, *[8] * dims), generator=generator)
    blocks = torch.tensor(VALUES, dtype=torch.uint8)[places]
    label = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    if dims == 3:
        label = label.repeat_interleave(4, 3)
    return {"image": MetaTensor(label.float()), "label": MetaTensor(label), "id": "a"}


def through(step: TransformStep, sample: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return Chain([("the step", step)], seed=seed)(sample, training=True)


def made(entry: Transform, dims: int) -> TransformStep:
    parameters = required(entry, dims)
    modes = entry.parameters.get("mode")
    if modes is not None and "nearest" in str(modes.type):
        parameters["mode"] = "nearest"
    return STEPS[entry.name](**parameters)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("entry", MOVING, ids=lambda entry: entry.name)
def test_an_image_and_its_label_move_alike(entry: Transform, dims: int) -> None:
    if ONE_DIMENSION_ONLY.get(entry.name, dims) != dims:
        pytest.skip(f"{entry.name} is for {ONE_DIMENSION_ONLY[entry.name]}-D")
    step = made(entry, dims)
    for seed in range(3):
        left = through(step, pair(dims, seed), seed)
        image, label = (torch.as_tensor(left[key]) for key in ("image", "label"))
        assert label.dtype is torch.uint8
        assert torch.equal(image.float(), label.float())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("entry", MOVING, ids=lambda entry: entry.name)
def test_no_value_arises_in_a_label(entry: Transform, dims: int) -> None:
    """Also where the image is interpolated, as by default."""
    if ONE_DIMENSION_ONLY.get(entry.name, dims) != dims:
        pytest.skip(f"{entry.name} is for {ONE_DIMENSION_ONLY[entry.name]}-D")
    left = through(STEPS[entry.name](**required(entry, dims)), pair(dims))
    assert set(left["label"].unique().tolist()) <= set(VALUES)
    assert left["label"].shape[1:] == left["image"].shape[1:]


RESAMPLING = [
    ("resize", {"spatial_size": (20, 60)}),
    ("resize", {"spatial_size": (67, 97), "mode": "bilinear"}),
    ("resize", {"spatial_size": (27, 16), "mode": "bicubic", "anti_aliasing": True}),
    ("resize", {"spatial_size": (90, 21), "mode": "nearest-exact"}),
    ("zoom", {"zoom": (1.7, 0.6)}),
    ("zoom", {"zoom": 1.4, "mode": "bilinear", "keep_size": False}),
    ("rand_zoom", {"min_zoom": 1.7, "max_zoom": 1.7}),
    ("rand_zoom", {"min_zoom": 0.6, "max_zoom": 0.6, "keep_size": False}),
    ("spacing", {"pixdim": (0.7, 2.3)}),
    ("affine", {"scale_params": (1.7, 0.6)}),
    ("rotate", {"angle": 0.4}),
    ("rand_affine", {"scale_range": ((0.3, 0.3), (-0.3, -0.3))}),
    ("rand_2d_elastic", {"spacing": 20.0, "magnitude_range": (2.0, 2.0)}),
    ("rand_grid_distortion", {"distort_limit": 0.3}),
    ("augment", {"scale_range": 0.4}),
    ("rand_simulate_low_resolution", {"zoom_range": (0.6, 0.6), "upsample_mode": "bilinear"}),
]


@pytest.mark.parametrize(("name", "parameters"), RESAMPLING)
def test_a_mask_lies_where_its_structure_lies(name: str, parameters: dict[str, Any]) -> None:
    """`interpolate` with "nearest" moves masks by half a pixel, its other modes no image."""
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(63), indexing="ij")
    ball = (((rows - 26) / 13) ** 2 + ((columns - 33) / 17) ** 2 <= 1).to(torch.uint8)[None]
    step = STEPS[name](**{**parameters, **({"prob": 1.0} if STEPS[name].random else {})})
    sample = {"image": MetaTensor(ball.float()), "label": MetaTensor(ball), "id": "a"}
    left = [through(step, sample)]
    if step.batched:
        batch = {key: torch.stack([torch.as_tensor(sample[key])] * 2) for key in ("image", "label")}
        chain = Chain([("the step", step)], seed=1)
        found = chain.batched_stage({**batch, "id": ["a", "b"]}, training=True, epoch=0)
        left += [{key: found[key][place] for key in ("image", "label")} for place in (0, 1)]
    for one in left:
        image, label = (torch.as_tensor(one[key]).double()[0] for key in ("image", "label"))
        for axis in (0, 1):
            apart = middle(image, axis) - middle(label, axis)
            assert abs(apart) < 0.25, (axis, apart)


def middle(values: torch.Tensor, axis: int) -> float:
    """The mean place of what is in an image, along an axis."""
    along = values.sum(1 - axis)
    return float((along * torch.arange(len(along))).sum() / along.sum())


@pytest.mark.parametrize("entry", STAYING, ids=lambda entry: entry.name)
def test_steps_that_change_values_leave_labels_alone(entry: Transform) -> None:
    sample = pair(2)
    if entry.name in {"remove_repeated_channel"}:
        sample["image"] = sample["image"].repeat(2, 1, 1)
    if entry.name == "ensure_channel_first":
        sample["image"].meta["original_channel_dim"] = 0
    before = sample["label"].clone()
    left = through(STEPS[entry.name](**required(entry, 2)), sample)
    assert torch.equal(torch.as_tensor(left["label"]), torch.as_tensor(before))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dims=st.sampled_from([2, 3]),
    rotate=st.floats(0, 3),
    zoom=st.floats(0, 0.5),
)
def test_augment_moves_labels_as_images_one_by_one_and_in_batches(
    seed: int, dims: int, rotate: float, zoom: float
) -> None:
    step = Augment(prob=1.0, rotate_range=rotate, scale_range=zoom, flip_axes=(0, 1))
    samples = [{**pair(dims, number), "id": str(number)} for number in range(3)]
    chain = Chain([("augment", step)], seed=seed)
    single = [chain(sample, training=True) for sample in samples]
    batch: dict[str, Any] = {
        key: torch.stack([torch.as_tensor(sample[key]) for sample in samples])
        for key in ("image", "label")
    }
    together = chain.batched_stage({**batch, "id": ["0", "1", "2"]}, training=True, epoch=0)
    for place, one in enumerate(single):
        label = torch.as_tensor(one["label"])
        assert set(label.unique().tolist()) <= set(VALUES)
        assert torch.equal(together["label"][place], label)
        # Where all neighbours of a pixel are of one value, interpolation gives that value.
        image = torch.as_tensor(one["image"])
        whole = (image - image.round()).abs() < 1e-4
        known = torch.zeros_like(whole)
        for value in VALUES:
            known |= whole & (image.round() == value)
        same = (image.round() == label.float())[known]
        assert float(same.float().mean()) > 0.95


@pytest.mark.parametrize("dims", [2, 3])
def test_augment_cuts_regions_at_random_places(dims: int) -> None:
    step = Augment(prob=0.5, rotate_range=0, translate_range=0, spatial_size=(12, 16, 20)[:dims])
    chain = Chain([("augment", step)], seed=0)
    given_pair = pair(dims)
    found = [
        chain({**given_pair, "id": str(number)}, training=True)["label"] for number in range(8)
    ]
    assert {tuple(label.shape) for label in found} == {(1, *(12, 16, 20)[:dims])}
    assert len({label.sum().item() for label in found}) > 1
    whole = chain({**given_pair, "id": "a"}, training=False)["label"]
    assert torch.equal(torch.as_tensor(whole), torch.as_tensor(given_pair["label"]))


def test_a_region_that_is_larger_than_the_image_is_refused() -> None:
    chain = Chain([("augment", Augment(spatial_size=(64, 64)))], seed=0)
    with pytest.raises(StepError, match=r"smaller than augment.spatial_size = \[64, 64\]. Add"):
        chain(pair(2), training=True)
    chain = Chain([("augment", Augment(spatial_size=(64,)))], seed=0)
    with pytest.raises(StepError, match="has 1 numbers"):
        chain(pair(2), training=True)
