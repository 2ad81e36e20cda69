"""Masks on other grids than their images', put onto these by nearest neighbour where asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe import PipelineBuilder
from medpipe.builtin.datasets.bids import Bids
from medpipe.builtin.datasets.decathlon import Decathlon
from medpipe.builtin.datasets.image_masks import ImageMasks
from medpipe.builtin.datasets.nnunet import NnUNet
from medpipe.builtin.datasets.table import Table
from medpipe.data.preparation import prepare
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import DataError, DecodedImage, LabelImage, Reading, read_label
from medpipe.settings import SplitSettings
from support import mask_layouts

MOVED = np.diag([1.0, 1.0, 2.0, 1.0])


def of(mask: Any, **known: Any) -> LabelImage:
    return LabelImage(image=mask, on_mismatch="resample", **known)


def image(shape: tuple[int, ...], affine: Any = None) -> DecodedImage:
    return DecodedImage(values=np.zeros(shape, np.float32), affine=affine)


def affine(angle: float, scales: Any, shift: Any) -> Any:
    """A turned, scaled and shifted grid, from columns, rows and slices."""
    cos, sin = np.cos(angle), np.sin(angle)
    whole = np.eye(4)
    whole[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag(scales)
    whole[:3, 3] = shift
    return whole


GRIDS = st.builds(
    affine,
    st.floats(-3, 3),
    st.tuples(*[st.floats(0.5, 2)] * 3),
    st.tuples(*[st.floats(-4, 4)] * 3),
)


@settings(max_examples=25)
@given(GRIDS, GRIDS, st.integers(0, 99), st.booleans())
def test_each_voxel_has_the_nearest_value(one: Any, other: Any, seed: int, apart: bool) -> None:
    values = np.random.default_rng(seed).integers(0, 3, (5, 6, 4)).astype(np.uint8)
    target = image((6, 5, 3), other)
    label = of(DecodedImage(values=values, affine=one), channels=2 if apart else None)
    to_mask = np.linalg.inv(one) @ other
    expected = np.zeros((6, 5, 3), np.uint8)
    doubtful = np.zeros((6, 5, 3), bool)
    for row, column, place in np.ndindex(6, 5, 3):
        column_, row_, place_, _ = to_mask @ [column, row, place, 1]
        seen = np.array([row_, column_, place_])
        nearest = np.floor(seen + 0.5).astype(int)
        doubtful[row, column, place] = (np.abs(seen + 0.5 - np.rint(seen + 0.5)) < 1e-6).any()
        if (nearest >= 0).all() and (nearest < values.shape).all():
            expected[row, column, place] = values[tuple(nearest)]
    try:
        found = read_label(label, target, Reading()).values
    except DataError as error:
        assert "Nothing of what the mask" in str(error)  # noqa: PT017
        found = np.zeros((*expected.shape, 2) if apart else expected.shape, np.uint8)
    if apart:
        found = found[..., 0] + 2 * found[..., 1]
    assert np.array_equal(found[~doubtful], expected[~doubtful])


def test_another_spacing_of_the_same_place() -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    fine = affine(0, (0.5, 0.5, 0.5), (-0.25, -0.25, -0.25))
    label = of(DecodedImage(values=mask, affine=np.eye(4)))
    found = read_label(label, image((8, 8, 8), fine), Reading()).values
    assert np.array_equal(found, mask.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_a_picture_in_the_patient_is_resampled_too() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[2, 1] = 1
    shifted = np.eye(4)
    shifted[0, 3] = 1
    label = of(DecodedImage(values=mask, affine=shifted))
    found = read_label(label, image((4, 4), np.eye(4)), Reading()).values
    assert found.tolist() == [[0] * 4, [0] * 4, [0, 0, 1, 0], [0] * 4]


def test_what_is_ignored_stays_so() -> None:
    mask = np.full((3, 3, 3), 9, np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = 1
    label = of(DecodedImage(values=mask, affine=shifted), values=((0, ()),), ignore=(9,))
    found = read_label(label, image((3, 3, 3), np.eye(4)), Reading()).values
    assert (found[:, 1:] == 255).all()
    assert (found[:, 0] == 0).all()


def test_another_size_without_a_place_stays_an_error() -> None:
    mask = np.ones((4, 4, 4), np.uint8)
    target = image((4, 4, 5), np.eye(4))
    with pytest.raises(DataError) as caught:
        read_label(of(DecodedImage(values=mask)), target, Reading())
    assert str(caught.value) == (
        "The mask in memory has 4 x 4 x 4 pixels, and its image 4 x 4 x 5. Resample it onto the "
        "image's grid, by nearest neighbour."
    )
    with pytest.raises(DataError, match="one is an image and the other a volume"):
        read_label(of(DecodedImage(values=mask[..., 0], affine=np.eye(4))), target, Reading())


def test_a_mask_beside_its_image_is_an_error() -> None:
    away = np.eye(4)
    away[2, 3] = 50
    label = of(DecodedImage(values=np.ones((4, 4, 4), np.uint8), affine=away))
    with pytest.raises(DataError, match="Nothing of what the mask in memory holds lies in its"):
        read_label(label, image((4, 4, 4), np.eye(4)), Reading())


def thinned(path: Path) -> None:
    """Leave out every second slice of a mask."""
    mask: Any = nibabel.load(path)  # type: ignore[attr-defined]
    values = np.asarray(mask.dataobj)[:, :, ::2]
    made: Any = nibabel.Nifti1Image(values, mask.affine @ MOVED)  # type: ignore[no-untyped-call]
    nibabel.save(made, path)  # type: ignore[attr-defined]


def in_layout(name: str, root: Path, **known: Any) -> tuple[Any, list[Path]]:
    """The step of a layout, and the files of its masks."""
    labels = {"shell": 1, "core": 2}
    if name == "nnunet":
        mask_layouts.nnunet(root, 4)
        return NnUNet(root=root, **known), sorted((root / "labelsTr").iterdir())
    if name == "bids":
        mask_layouts.bids(root, 4)
        step = Bids(root=root, derivative="derivatives/manual", **known)
        return step, sorted((root / "derivatives").rglob("*.nii.gz"))
    mask_layouts.decathlon(root, 4)
    masks = sorted((root / "labelsTr").iterdir())
    if name == "table":
        return Table(file=root / "folds.csv", mask="label", labels=labels, **known), masks
    if name == "image_masks":
        named = {"images": "imagesTr", "masks": "labelsTr"}
        return ImageMasks(root=root, labels=labels, **named, **known), masks
    return Decathlon(root=root, **known), masks


@pytest.mark.parametrize("name", ["decathlon", "nnunet", "bids", "image_masks", "table"])
def test_data_sets_resample_where_asked_to(tmp_path: Path, name: str) -> None:
    step, masks = in_layout(name, tmp_path)
    thinned(masks[1])
    _, faults = scan_labels(step.build(), workers=1)
    (fault,) = faults
    assert 'set dataset.on_mismatch = "resample"' in fault.message
    step, _ = in_layout(name, tmp_path / "again", on_mismatch="resample")
    (masks_again,) = [sorted((tmp_path / "again").rglob(masks[1].name))[-1:]]
    thinned(masks_again[0])
    data = step.build()
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert scan.resampled == (data.samples[1].id,)
    assert scan.notes == (
        "1 mask on another grid than the image was resampled onto it by nearest neighbour "
        f"(dataset.on_mismatch): {data.samples[1].id!r}.",
    )
    again, _ = scan_labels(data, workers=1)  # from what is remembered
    assert again.resampled == scan.resampled
    sample = data.samples[1]
    assert isinstance(sample.label, LabelImage)
    # As an evaluation reads it, without the image at hand.
    found = read_label(sample.label, None, data.reading, of=sample.image)
    assert tuple((found.values == place).sum() for place in (1, 2)) == scan.counts[sample.id]


def test_it_is_other_data_and_is_reported(tmp_path: Path) -> None:
    mask_layouts.decathlon(tmp_path, 12)
    before = prepare(Decathlon(root=tmp_path).build(), SplitSettings(), workers=1).digest
    step = Decathlon(root=tmp_path, on_mismatch="resample")
    assert prepare(step.build(), SplitSettings(), workers=1).digest == before
    thinned(tmp_path / "labelsTr" / "ball_003.nii.gz")
    prepared = prepare(step.build(), SplitSettings(), workers=1)
    assert prepared.digest != before
    assert any("ball_003" in note for note in prepared.dataset.notes)
    pipeline = (
        PipelineBuilder(device="cpu")
        .dataset("decathlon", root=str(tmp_path), on_mismatch="resample")
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised")
    )
    report = pipeline.build().check_data()
    assert "label" not in report.counts
    assert any("1 mask on another grid" in note for note in report.notes)
    refused = pipeline.dataset("decathlon", root=str(tmp_path)).build().check_data()
    assert refused.counts["label"] == 1
