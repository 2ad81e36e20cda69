"""`orientation` and padding give what MONAI's transforms give: values and affine."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import transforms
from monai.data import MetaTensor

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS

STEPS = {step.name: step for step in TRANSFORMS}
WAYS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]


def volume(order: tuple[int, ...], signs: tuple[float, ...], sides: tuple[int, ...]) -> Any:
    affine = np.zeros((4, 4))
    affine[range(3), order] = np.array(signs) * (1.0, 0.7, 2.5)
    affine[:, 3] = (3.0, -4.0, 5.5, 1.0)
    values = torch.arange(float(np.prod(sides))).reshape(1, *sides)
    meta = {"filename_or_obj": "a.nii", "spacing_of": "patient"}
    return MetaTensor(values, affine=torch.from_numpy(affine), meta=meta)


def same(ours: Any, theirs: Any) -> None:
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.allclose(ours.affine, theirs.affine, atol=1e-12, rtol=0)
    assert ours.meta["filename_or_obj"] == "a.nii"
    assert ours.is_contiguous()


@pytest.mark.parametrize("axcodes", ["RAS", "LPI"])
@pytest.mark.parametrize(("order", "signs"), WAYS)
def test_orientation(order: tuple[int, ...], signs: tuple[float, ...], axcodes: Any) -> None:
    given_ = volume(order, signs, (4, 5, 6))
    label = volume(order, signs, (4, 5, 6)).to(torch.uint8)
    untouched = given_.as_tensor().clone()
    step = STEPS["orientation"](axcodes=axcodes)
    theirs = transforms.Orientation(axcodes, labels=(("L", "R"), ("P", "A"), ("I", "S")))
    left = step.build_with_label()({"image": given_, "label": label, "id": "a"})
    same(left["image"], theirs(given_))
    same(left["label"], theirs(label))
    assert left["label"].dtype is torch.uint8
    assert torch.equal(given_.as_tensor(), untouched)


@given(
    sides=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    to=st.integers(1, 12),
    method=st.sampled_from(["symmetric", "end"]),
    name=st.sampled_from(["spatial_pad", "divisible_pad"]),
    mode=st.sampled_from(["constant", "edge"]),
)
@settings(max_examples=60, deadline=None)
def test_padding(sides: list[int], to: int, method: Any, name: str, mode: Any) -> None:
    given_ = (
        volume((1, 0, 2), (1, -1, 1), (*sides, 1)[:3])[..., 0]
        if len(sides) == 2
        else volume((1, 0, 2), (1, -1, 1), tuple(sides))
    )
    called = {"spatial_pad": "spatial_size", "divisible_pad": "k"}[name]
    monai = {"spatial_pad": transforms.SpatialPadd, "divisible_pad": transforms.DivisiblePadd}[name]
    options: Any = {called: to, "method": method, "mode": mode}
    step = STEPS[name](**options)
    keys = ("image", "label")
    sample = {"image": given_, "label": given_.to(torch.uint8), "id": "a"}
    ours, theirs = step.build_with_label()(sample), monai(keys=keys, **options)(sample)
    for key in keys:
        same(ours[key], theirs[key])
    same(step.build()({"image": given_, "id": "a"})["image"], theirs["image"])


@given(
    sides=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    constant=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_normalizing_by_the_images_own_values(
    sides: list[int], scale: float, constant: bool, seed: int
) -> None:
    given_ = volume((1, 0, 2), (1, -1, 1), tuple(sides))
    values = torch.randn(given_.shape, generator=torch.Generator().manual_seed(seed)) * scale
    given_ = MetaTensor(values * (not constant) + scale, meta=given_.meta)
    untouched = given_.as_tensor().clone()
    ours = STEPS["normalize_intensity"]().build()({"image": given_, "id": "a"})["image"]
    theirs: Any = transforms.NormalizeIntensity()(given_)
    same(ours, theirs)
    assert torch.equal(given_.as_tensor(), untouched)
