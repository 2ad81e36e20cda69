"""Masks that are read, go through a chain as a perfect answer, are written, and are read back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medpipe import Registry
from medpipe.data.chain import sample_dictionary
from medpipe.data.readers.file_grid import FileGrid
from medpipe.plugin import LabelImage, Reading, Sample, Segmentation, TransformStep, read_label
from medpipe.prediction.masks import MaskWriter
from support.marks import rare

REGISTRY = Registry.discover()
TASK = Segmentation()
ORIENTATIONS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (3.0, 0.5, 1.25))
VALUES = ((0, 1), (0, 2, 5), (0, 255))
CASES = [
    (spacing, values) if place == other else rare(spacing, values)
    for place, spacing in enumerate(SPACINGS)
    for other, values in enumerate(VALUES)
]
IGNORE, IGNORED = 7, 255
ORIENTED = (("orientation", {"axcodes": "LPS"}),)
RESAMPLED = (*ORIENTED, ("spacing", {"pixdim": (0.9, 0.9, 1.1)}))


def written(path: Path, values: Any, affine: Any) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)  # type: ignore[no-untyped-call]
    return path


def meaning(path: Path, values: tuple[int, ...]) -> LabelImage:
    places = ((value, () if place == 0 else (place - 1,)) for place, value in enumerate(values))
    return LabelImage(image=str(path), values=tuple(places), ignore=(IGNORE,))


def through(steps: Any, image: Path, label: LabelImage) -> Any:
    sample: Any = sample_dictionary(Sample(id="a", image=str(image), label=label), Reading())
    chain = (("load_image", {}), ("ensure_channel_first", {}), *steps)
    for name, parameters in chain:
        step = REGISTRY.create(TransformStep, name, parameters)
        sample = step.build_with_label()(sample)
    return sample


def round_trip(folder: Path, truth: Any, affine: Any, values: Any, steps: Any) -> tuple[Any, Any]:
    """The mask's file as it was given, and as it is written of a perfect answer.

    What is ignored has no right answer: the answer there is the last structure.
    """
    given = written(folder / "mask.nii", truth, affine)
    image = written(folder / "image.nii", truth.astype(np.int16), affine)
    names = [f"structure {place}" for place in range(1, len(values))]
    left = through(steps, image, meaning(given, values))
    label = torch.as_tensor(left["label"]).as_subclass(torch.Tensor)[0].long()
    label[label == IGNORED] = len(names)
    outputs = torch.nn.functional.one_hot(label, len(values)).movedim(-1, 0).float()
    grid = FileGrid.of(left["image"])
    assert grid is not None
    mask = grid.to_file(outputs, TASK.decided).numpy()
    (path,) = MaskWriter(folder=folder / "out", names=names, values=values).write("a", mask, grid)
    back: Any = nibabel.load(path)
    indices = read_label(meaning(path, values), None, Reading()).values.swapaxes(0, 1)
    assert np.array_equal(np.array(values)[indices], np.asarray(back.dataobj))
    return nibabel.load(given), back


@pytest.mark.parametrize(("spacing", "values"), CASES)
def test_masks_come_back_from_each_of_48_orientations(
    spacing: tuple[float, ...], values: tuple[int, ...], tmp_path: Path
) -> None:
    random = np.random.default_rng(len(values))
    for order, signs in ORIENTATIONS:
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] @ np.diag(np.multiply(signs, spacing))
        affine[:3, 3] = 12.5, -7.0, 101.25
        truth = random.choice([*values, IGNORE], (5, 6, 7)).astype(np.uint8)
        given, back = round_trip(tmp_path, truth, affine, values, ORIENTED)
        assert np.array_equal(back.affine, given.affine)
        assert np.array_equal(
            np.asarray(back.dataobj), np.where(truth == IGNORE, values[-1], truth)
        )


@pytest.mark.parametrize(("spacing", "values"), CASES)
def test_resampled_masks_keep_their_grid_and_values(
    spacing: tuple[float, ...], values: tuple[int, ...], tmp_path: Path
) -> None:
    """Structures are boxes of some millimetres, so that each survives the spacing of the chain."""
    sides = [round(24 / step) for step in spacing]
    along = np.meshgrid(*[np.linspace(-1, 1, side) for side in sides], indexing="ij")
    radius = np.abs(along).max(0)
    truth = np.full(sides, IGNORE, np.uint8)
    for place, value in enumerate(values):
        truth[radius < 1 - place * 0.3] = value
    truth[: sides[0] // 5] = IGNORE
    for order, signs in ORIENTATIONS:
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] @ np.diag(np.multiply(signs, spacing))
        given, back = round_trip(tmp_path, truth, affine, values, RESAMPLED)
        answer = np.asarray(back.dataobj)
        assert np.array_equal(back.affine, given.affine)
        assert answer.shape == truth.shape
        assert set(np.unique(answer)) == set(values)
        counts = truth != IGNORE
        assert (answer == truth)[counts].mean() > 0.85
