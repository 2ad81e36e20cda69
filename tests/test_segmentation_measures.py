"""What is measured of a case: overlap and surface distances, against MONAI's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medpipe.plugin import Segmentation
from medpipe.tasks.surfaces import (
    _by_transform,
    _by_tree,
    exclusive_structures,
    surface,
    surface_distances,
)

Array = np.ndarray[Any, np.dtype[Any]]

CASES = settings(max_examples=60, deadline=None, derandomize=True)


def drawn(seed: int, shape: tuple[int, ...], names: int) -> tuple[Array, Array]:
    """Two masks of smooth structures that touch each other and the borders."""
    from scipy.ndimage import gaussian_filter, shift

    random = np.random.default_rng(seed)
    fields = [gaussian_filter(random.normal(size=shape), 2.0) for _ in range(names + 1)]
    label = np.argmax(fields, axis=0).astype(np.uint8)
    moved = shift(label, [1] * len(shape), order=0)
    noisy = random.random(shape) < 0.02
    return np.where(noisy, random.integers(0, names + 1, shape), moved).astype(np.uint8), label


def monai_measures(
    predicted: Array, label: Array, names: int, spacing: tuple[float, ...], tolerance: float
) -> Array:
    """MONAI's Dice, NSD and HD95, of shape (names, 3)."""
    from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

    one, other = (
        torch.stack([torch.from_numpy(mask == value) for value in range(names + 1)])[None].float()
        for mask in (predicted, label)
    )
    dice: Any = DiceMetric(include_background=False)(one, other)
    nsd: Any = SurfaceDiceMetric([tolerance] * names, include_background=False)(
        one, other, spacing=spacing
    )
    hd95: Any = HausdorffDistanceMetric(include_background=False, percentile=95)(
        one, other, spacing=spacing
    )
    return np.stack([found[0].numpy() for found in (dice, nsd, hd95)], axis=1)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((24, 20, 18), (1.0, 1.0, 1.0)),
        ((20, 24, 12), (0.7, 0.7, 2.5)),
        ((40, 33), (0.4, 1.3)),
        ((15, 1, 12), (1.0, 3.0, 1.0)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_measures_are_monais(
    shape: tuple[int, ...], spacing: tuple[float, ...], seed: int
) -> None:
    predicted, label = drawn(seed, shape, 2)
    task = Segmentation(tolerances=(1.13,))
    scores, volumes = task.case_scores(
        predicted[None], label[None], ("a", "b"), spacing=spacing, surfaces=True
    )
    expected = monai_measures(predicted, label, 2, spacing, 1.13)
    assert np.allclose(scores.reshape(2, 4)[:, :3], expected, atol=1e-5, rtol=0, equal_nan=True)
    voxel = math.prod(spacing)
    counts = [[np.count_nonzero(mask == value) for value in (1, 2)] for mask in (predicted, label)]
    assert np.allclose(scores.reshape(2, 4)[:, 3], np.array(counts[0]) * voxel)
    assert np.allclose(volumes, np.array(counts[1]) * voxel)


masks = arrays(np.uint8, (1, 6, 5, 4), elements=st.sampled_from((0, 1, 2, 255)))
answers = arrays(np.uint8, (1, 6, 5, 4), elements=st.sampled_from((0, 1, 2)))


@CASES
@given(predicted=answers, label=masks)
def test_exclusive_and_overlapping_masks_measure_the_same(predicted: Array, label: Array) -> None:
    names, spacing = ("a", "b"), (1.0, 2.0, 0.5)
    alone = Segmentation().case_scores(predicted, label, names, spacing=spacing, surfaces=True)
    values = np.array([1, 2], dtype=np.uint8)[:, None, None, None]
    channels = np.where(label == 255, 255, label == values).astype(np.uint8)
    together = Segmentation(overlapping=True).case_scores(
        (predicted == values).astype(np.uint8), channels, names, spacing=spacing, surfaces=True
    )
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


@CASES
@given(predicted=answers, label=masks)
def test_voxels_that_are_ignored_change_nothing(predicted: Array, label: Array) -> None:
    names = ("a", "b")
    task = Segmentation()
    others = np.where(label == 255, 2 - predicted, predicted).astype(np.uint8)
    first, second = (
        task.case_scores(some, label, names, spacing=None, surfaces=True)
        for some in (predicted, others)
    )
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


@CASES
@given(predicted=answers, label=masks, axes=st.permutations(range(3)), flip=st.booleans())
def test_turned_cases_measure_the_same(
    predicted: Array, label: Array, axes: list[int], flip: bool
) -> None:
    names, spacing = ("a", "b"), (1.0, 2.0, 0.5)
    order = [0, *(axis + 1 for axis in axes)]
    moved = [mask.transpose(order)[:, :: -1 if flip else 1] for mask in (predicted, label)]
    task = Segmentation()
    one = task.case_scores(predicted, label, names, spacing=spacing, surfaces=True)
    other = task.case_scores(
        moved[0], moved[1], names, spacing=[spacing[axis] for axis in axes], surfaces=True
    )
    for first, second in zip(one, other, strict=True):
        assert np.allclose(first, second, equal_nan=True, rtol=1e-12)


def test_empty_cases_are_defined() -> None:
    nothing, some = np.zeros((1, 6, 6, 6), np.uint8), np.zeros((1, 6, 6, 6), np.uint8)
    some[0, 2:4, 2:4, 2:4] = 1
    unknown = np.full_like(some, 255)
    task, names = Segmentation(), ("a",)

    def measured(predicted: Array, label: Array) -> tuple[list[float], list[float]]:
        scores, volumes = task.case_scores(predicted, label, names, spacing=None, surfaces=True)
        return scores.tolist(), volumes.tolist()

    nan = pytest.approx(math.nan, nan_ok=True)
    assert measured(some, some) == ([1, 1, 0, 8], [8])
    assert measured(nothing, some) == ([0, 0, nan, 0], [8])  # missed
    assert measured(some, nothing) == ([nan, nan, nan, 8], [0])  # invented
    assert measured(nothing, nothing) == ([nan, nan, nan, 0], [0])
    assert measured(some, unknown) == ([nan, nan, nan, 0], [nan])  # not annotated


def test_without_surfaces_there_are_dice_and_volumes_alone() -> None:
    predicted, label = drawn(0, (12, 12, 12), 2)
    scores, _ = Segmentation().case_scores(
        predicted[None], label[None], ("a", "b"), spacing=None, surfaces=False
    )
    assert np.isnan(scores.reshape(2, 4)[:, 1:3]).all()
    assert np.isfinite(scores.reshape(2, 4)[:, [0, 3]]).all()


def test_the_tolerance_is_that_of_the_structure_and_rounding_does_not_count() -> None:
    label = np.zeros((1, 20, 20), np.uint8)
    label[0, 4:14, 2:8], label[0, 4:14, 10:16] = 1, 2
    predicted = np.roll(label, 3, axis=1)
    names, spacing = ("a", "b"), (0.7, 0.7)  # 3 x 0.7 is below or above 2.1 by rounding
    for tolerances, expected in (((2.1, 2.0), (True, False)), ((2.1,), (True, True))):
        scores, _ = Segmentation(tolerances=tolerances).case_scores(
            predicted, label, names, spacing=spacing, surfaces=True
        )
        assert tuple(scores.reshape(2, 4)[:, 1] == 1) == expected


def test_a_surface_is_the_voxels_with_a_face_outside() -> None:
    mask = np.ones((5, 4, 3), dtype=bool)
    assert np.count_nonzero(~surface(mask)) == 3 * 2 * 1  # the border of the image is outside
    random = np.random.default_rng(0)
    from scipy.ndimage import binary_erosion

    mask = random.random((9, 8, 7)) < 0.7
    assert np.array_equal(surface(mask), mask & ~binary_erosion(mask))


def test_distances_are_those_to_the_nearest_of_all() -> None:
    random = np.random.default_rng(1)
    one, other = (random.random((7, 6, 5)) < 0.2 for _ in range(2))
    spacing = np.array((0.5, 1.0, 3.0))
    points = [np.argwhere(surface(mask)) * spacing for mask in (one, other)]
    every = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    there, back = surface_distances(one, other, spacing.tolist())
    assert np.allclose(there, every.min(axis=1))
    assert np.allclose(back, every.min(axis=0))


def test_large_masks_are_counted_in_pieces() -> None:
    predicted, label = drawn(3, (110, 110, 110), 3)  # more voxels than are counted at once
    for value, found in enumerate(exclusive_structures(predicted, label, 3), 1):
        one, other = predicted == value, label == value
        counted = (found.predicted, found.reference, found.both)
        assert counted == (one.sum(), other.sum(), (one & other).sum())


@given(data=st.data(), dims=st.sampled_from([2, 3]), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_both_ways_to_the_nearest_surface_agree(data: st.DataObject, dims: int, seed: int) -> None:
    sides = data.draw(st.lists(st.integers(1, 9), min_size=dims, max_size=dims))
    spacing = data.draw(
        st.lists(st.sampled_from([0.3, 0.7, 1.0, 2.5]), min_size=dims, max_size=dims)
    )
    rng = np.random.default_rng(seed)
    points, targets = (rng.random(sides) < rng.uniform(0.05, 1) for _ in range(2))
    points.flat[0] = targets.flat[-1] = True
    found = [way(points, targets, spacing) for way in (_by_tree, _by_transform)]
    assert np.allclose(*found, rtol=1e-12, atol=1e-12)
