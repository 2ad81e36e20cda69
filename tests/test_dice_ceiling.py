"""What the transforms cost a perfect answer, as check() tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import medpipe
from medpipe.assembly import Assembly
from medpipe.checks.dice_ceiling import Ceiling, _dice_of, ceilings
from medpipe.data.readers.file_grid import FileGrid
from support.blobs import REGISTRY, blobs, save
from support.examples import examples


def found(builder: Any) -> list[Ceiling]:
    assembly = Assembly(configuration=builder.build().configuration, registry=REGISTRY)
    chain = assembly.chain()
    prepared = assembly.prepare_data(chain)
    assert prepared.labels is not None
    return ceilings(prepared.dataset, prepared.labels.counts, chain)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


def with_spacing(root: Path, pixdim: Any) -> Any:
    return blobs(root).transform("spacing", pixdim=pixdim, before="normalize_intensity")


@pytest.mark.long
def test_it_falls_with_the_voxels(root: Path) -> None:
    dice = [
        [ceiling.mean for ceiling in found(with_spacing(root, (size,) * 3))]
        for size in (0.5, 1.5, 2.0, 3.0, 20.0)
    ]
    shells, cores = zip(*dice, strict=True)
    assert shells[0] > 0.99
    for some in (shells, cores):
        assert list(some) == sorted(some, reverse=True)
    assert shells[3] < 0.8  # a thin one
    assert cores[-1] == 0


def test_steps_that_lose_nothing_cost_nothing(root: Path) -> None:
    assert found(blobs(root)) == []
    cropped = blobs(root).transform(
        "resize_with_pad_or_crop", spatial_size=(24, 24, 24), before="normalize_intensity"
    )
    told = found(cropped)
    assert [ceiling.name for ceiling in told] == ["shell", "core"]
    assert all(ceiling.lowest[1] == 1 for ceiling in told)
    assert all(1 <= len(ceiling.by_case) <= 6 for ceiling in told)
    assert found(cropped) == told


@settings(max_examples=examples(40), deadline=None)
@example(seed=1, scale=(2.5, 1.0, 1.0), shift=(0.0, 0.0, 0.0))  # it comes back beside the file
@given(
    seed=st.integers(0, 99),
    scale=st.tuples(*[st.floats(0.6, 2.5)] * 3),
    shift=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_the_box_around_a_structure_is_enough(seed: int, scale: Any, shift: Any) -> None:
    """The Dice is that of the whole volume."""
    import torch

    generator = np.random.default_rng(seed)
    sides = (14, 11, 9)
    truth, left = np.zeros(sides, bool), np.zeros(sides, bool)
    for mask in (truth, left):
        low = [generator.integers(0, side - 3) for side in sides]
        mask[tuple(slice(n, n + 3) for n in low)] = generator.random((3, 3, 3)) < 0.7
    known = generator.random(sides) < 0.9
    truth &= known
    if not (truth.any() and left.any()):
        return
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = np.add(shift, 0.013)  # midway between voxels rounding decides
    grid = FileGrid(affine=affine, file_affine=np.eye(4), file_shape=sides, axes="wh", known=True)
    back = grid.to_file(torch.from_numpy(left).float()[None], lambda o: (o > 0.5).to(torch.uint8))[
        0
    ].numpy()
    answer = back.astype(bool) & known
    expected = 2 * (answer & truth).sum() / (answer.sum() + truth.sum())
    assert _dice_of(left, truth, known, grid) == pytest.approx(expected, abs=0.02)


def lesions(root: Path, *, other: int = 12) -> Any:
    """Cubes of 4 or, in the first of them, 12 voxels a side, and a dot of one voxel in each."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(10):
        generator = np.random.default_rng(number)
        mask = np.zeros((24, 24, 24), np.uint8)
        side = 4 if number else other
        mask[2 : 2 + side, 2 : 2 + side, 2 : 2 + side] = 1
        mask[19, 19, 19] = 2
        image = mask + generator.normal(0, 0.1, mask.shape)
        save(image.astype(np.float32), np.eye(4), root / f"images/{number}.nii.gz")
        save(mask, np.eye(4), root / f"masks/{number}.nii.gz")
    return (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("image_masks", root=str(root), labels={"cube": 1, "dot": 2})
        .transforms(
            "load_image",
            "ensure_channel_first",
            medpipe.step("spacing", pixdim=(2.0, 2.0, 3.0)),
            "normalize_intensity",
            medpipe.step("spatial_pad", spatial_size=(16, 16, 16)),
            "to_tensor",
        )
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=2, workers=0)
        .split(validation=0.2, test=0.2)
    )


def test_check_names_the_structure_the_case_and_the_step(tmp_path: Path) -> None:
    builder = lesions(tmp_path)
    report = builder.build().check()
    (problem,) = report.problems
    assert str(problem) == (
        "transform[2]: the transform step 'spacing' (medpipe-imaging "
        f"{medpipe.__version__}) loses the structure 'dot' altogether in all of the 6 masks that "
        "were tried, such as that of '0.nii.gz'. Choose a smaller pixdim, or leave it out."
    )
    (low,) = [warning for warning in report.warnings if "perfect answer" in warning]
    assert low.startswith("even a perfect answer for 'cube' has a Dice of 0.")
    assert "transform[2], the transform step 'spacing'" in low
    (note,) = [note for note in report.notes if "perfect answer" in note]
    assert "cube 0." in note
    assert "dot 0.000 (means of 6 masks, the smallest among them)" in note
    of_data = builder.build().check_data()
    assert [fault.message for fault in of_data.faults] == [str(problem)]
    assert low in [fault.message for fault in of_data.warnings]
    assert note in of_data.notes


def test_files_without_masks_that_can_be_read_are_faults_of_the_data(tmp_path: Path) -> None:
    builder = lesions(tmp_path)
    mask = np.full((24, 24, 24), 7, np.uint8)
    save(mask, np.eye(4), tmp_path / "masks/3.nii.gz")
    (fault,) = builder.build().check_data().faults
    assert fault.sample.startswith("3")
    assert "has the value 7, which no label names" in fault.message


def test_voxels_that_count_nowhere_are_left_out() -> None:
    truth = np.zeros((6, 6), bool)
    truth[1:3, 1:5] = True
    left = np.zeros((6, 6), bool)
    left[1:4, 1:5] = True
    grid = FileGrid(
        affine=np.eye(4), file_affine=np.eye(4), file_shape=(6, 6), axes="wh", known=True
    )
    known = np.ones((6, 6), bool)
    assert _dice_of(left, truth, known, grid) == 2 * 8 / (8 + 12)
    known[3] = False
    assert _dice_of(left, truth, known, grid) == 1
