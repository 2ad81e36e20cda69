"""The way from a chain's result back to the grid of the file."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from medpipe import Registry
from medpipe.data.readers.file_grid import FileGrid, FileLabels
from medpipe.plugin import DecodedImage, TransformStep
from support.examples import examples

REGISTRY = Registry.discover()
SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (3.0, 0.5, 1.25))
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], spacing: Any) -> np.ndarray:
    affine = np.zeros((4, 4))
    for axis in range(3):
        affine[order[axis], axis] = signs[axis] * spacing[axis]
    affine[:, 3] = 12.5, -7.0, 101.25, 1
    return affine


def loaded(values: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """A volume as load_image and ensure_channel_first give it."""
    meta = {
        "file_affine": torch.from_numpy(affine.copy()),
        "file_shape": values.shape,
        "axes": "wh",
        "spacing_of": "patient",
    }
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine), meta=meta)


def through(steps: list[tuple[str, dict[str, Any]]], image: MetaTensor, label: MetaTensor) -> Any:
    sample: Any = {"image": image, "label": label, "id": "a"}
    for name, parameters in steps:
        step = REGISTRY.create(TransformStep, name, parameters)
        sample = step.build_with_label()(sample)
    return sample


def one_hot(label: Any, count: int) -> torch.Tensor:
    plain = torch.as_tensor(label).as_subclass(torch.Tensor)[0].long()
    return torch.nn.functional.one_hot(plain, count).movedim(-1, 0).float()


def largest(outputs: torch.Tensor) -> torch.Tensor:
    return outputs.argmax(1, keepdim=True).to(torch.uint8)


def volume(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 3, shape).astype(np.uint8)
    return label.astype(np.float32) + 1, label


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_voxel_comes_back_from_each_of_48_orientations(
    order: tuple[int, ...], signs: tuple[int, ...], spacing: Any
) -> None:
    values, truth = volume((5, 6, 7))
    affine = affine_of(order, signs, spacing)
    steps = [
        ("orientation", {"axcodes": "RAS"}),
        ("spatial_pad", {"spatial_size": (8, 8, 8)}),
        ("flip", {"spatial_axis": 1}),
    ]
    left = through(steps, loaded(values, affine), loaded(truth, affine))
    assert torch.equal((left["image"] - 1).clamp(min=0), left["label"].float())
    grid = FileGrid.of(left["image"])
    assert grid is not None
    back = grid.to_file(one_hot(left["label"], 3), largest)
    assert np.array_equal(back[0].numpy(), truth)
    assert np.allclose(grid.spacing, spacing)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 11)] * 3),
    start=st.tuples(*[st.integers(0, 2)] * 3),
    k=st.integers(0, 3),
)
def test_what_was_cropped_away_is_background(shape: Any, start: Any, k: int) -> None:
    values, truth = volume(shape)
    affine = affine_of((1, 0, 2), (1, -1, 1), (1.0, 2.0, 3.0))
    end = [one + 2 for one in start]
    steps = [
        ("spatial_crop", {"roi_start": start, "roi_end": end}),
        ("rotate90", {"k": k, "spatial_axes": (0, 2)}),
    ]
    left = through(steps, loaded(values, affine), loaded(truth, affine))
    back = FileGrid.of(left["image"]).to_file(one_hot(left["label"], 3), largest)  # type: ignore[union-attr]
    expected = np.zeros_like(truth)
    inside = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
    expected[inside] = truth[inside]
    assert np.array_equal(back[0].numpy(), expected)


@pytest.mark.parametrize("pixdim", [(1.0, 1.0, 1.0), (0.6, 0.6, 1.5)])
def test_a_resampled_ball_comes_back_on_the_files_own_grid(pixdim: Any) -> None:
    places = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"))
    ball = (((places - 14.5) ** 2).sum(0) < 100).astype(np.uint8)
    affine = affine_of((2, 1, 0), (-1, 1, 1), (0.8, 0.8, 0.8))
    steps = [("orientation", {"axcodes": "LPS"}), ("spacing", {"pixdim": pixdim})]
    left = through(steps, loaded(ball.astype(np.float32), affine), loaded(ball, affine))
    assert set(left["label"].unique().tolist()) == {0, 1}
    back = FileGrid.of(left["image"]).to_file(one_hot(left["label"], 2), largest)[0].numpy()  # type: ignore[union-attr]
    assert back.shape == ball.shape
    dice = 2 * (back & ball).sum() / (back.sum() + ball.sum())
    assert dice > 0.95


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, truth = volume((9, 8, 7))
    affine = affine_of((0, 1, 2), (1, 1, 1), (1.0, 1.0, 1.0))
    steps = [("spacing", {"pixdim": (0.8, 1.3, 0.9)})]
    left = through(steps, loaded(values, affine), loaded(truth, affine))
    grid, outputs = FileGrid.of(left["image"]), one_hot(left["label"], 3)
    assert grid is not None
    whole = grid.to_file(outputs, largest)
    monkeypatch.setattr("medpipe.data.readers.file_grid.POSITIONS", 60)
    assert torch.equal(grid.to_file(outputs, largest), whole)


@settings(max_examples=examples(60), deadline=None)
@given(
    axis=st.integers(0, 2),
    cuts=st.sets(st.integers(1, 8), max_size=5),
    pixdim=st.sampled_from([None, (0.8, 1.3, 0.9), (2.0, 0.5, 1.0)]),
    angle=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 9),
)
def test_regions_give_what_the_whole_gives(
    axis: int, cuts: set[int], pixdim: Any, angle: float, seed: int
) -> None:
    """Of outputs that are not near a tie, along each axis, also where the chain rotates."""
    values, truth = volume((9, 8, 7), seed)
    affine = affine_of((2, 0, 1), (1, -1, 1), (1.0, 1.0, 1.0))
    steps: list[tuple[str, dict[str, Any]]] = [("orientation", {"axcodes": "RAS"})]
    steps += [("spacing", {"pixdim": pixdim})] if pixdim else []
    steps += [("rotate", {"angle": (angle, 0.0, 0.0), "keep_size": False})] if angle else []
    left = through(steps, loaded(values, affine), loaded(truth, affine))
    grid = FileGrid.of(left["image"])
    assert grid is not None
    sides = tuple(left["image"].shape[1:])
    outputs = torch.rand(3, *sides, generator=torch.Generator().manual_seed(seed)) ** 4
    expected = grid.to_file(outputs, largest)
    found = FileLabels(grid, sides, largest)
    ends = sorted({0, sides[axis], *(cut for cut in cuts if cut < sides[axis])})
    for low, high in itertools.pairwise(ends):
        region = [slice(low, high) if a == axis else slice(0, n) for a, n in enumerate(sides)]
        part = outputs[(slice(None), *region)].clone()
        found.add(region, part)
        part.fill_(torch.nan)  # whoever gives it may use its memory again
    assert expected.shape == (1, 9, 8, 7)
    assert (found.whole() != expected).sum() <= 1  # rounding decides between two that are equal


@pytest.mark.parametrize("axes", ["wh", "hw"])
def test_an_image_without_a_place_comes_back(axes: str) -> None:
    truth = np.random.default_rng(1).integers(0, 2, (6, 9)).astype(np.uint8)
    step = REGISTRY.create(TransformStep, "load_image", {"axes": axes})
    sample: Any = {"image": truth.astype(np.float32), "label": None, "id": "a"}
    sample = step.build()(sample)
    for name, parameters in [
        ("ensure_channel_first", {}),
        ("resize_with_pad_or_crop", {"spatial_size": (12, 12)}),
    ]:
        sample = REGISTRY.create(TransformStep, name, parameters).build()(sample)
    grid = FileGrid.of(sample["image"])
    assert grid is not None
    assert grid.spacing is None
    back = grid.to_file(one_hot(sample["image"], 2), largest)
    assert np.array_equal(back.numpy(), grid.of_file(DecodedImage(values=truth)))
    assert np.array_equal(back[0].numpy(), truth.T if axes == "wh" else truth)


def test_an_image_without_metadata_has_no_grid() -> None:
    assert FileGrid.of(torch.zeros(1, 4, 4)) is None
