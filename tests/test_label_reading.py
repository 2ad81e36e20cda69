"""Masks as files: what their values mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medpipe.plugin import (
    DataError,
    DecodedImage,
    LabelImage,
    Reading,
    read_label,
    read_sample_image,
)

NUCLEI = ((0.0, ()), (255.0, (0,)))
TWO = ((0.0, ()), (2.0, (0,)), (5.0, (1,)))


def square(value: int = 255) -> np.ndarray[Any, Any]:
    mask = np.zeros((6, 7), np.uint8)
    mask[2:4, 1:5] = value
    return mask


def of(image: Any, **known: Any) -> LabelImage:
    return LabelImage(image=str(image) if isinstance(image, Path) else image, **known)


def read(label: LabelImage, image: DecodedImage | None = None) -> np.ndarray[Any, Any]:
    mask = read_label(label, image, Reading())
    assert mask.values.dtype == np.uint8
    return mask.values


def saved(path: Path, values: np.ndarray[Any, Any], affine: Any = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_grey_mask_may_be_saved_in_colours(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(square()).convert(mode).save(file)
    assert np.array_equal(read(of(file, values=NUCLEI)), square(1))


def test_a_mask_of_one_bit_is_0_and_255_where_255_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(square() > 0).save(file)
    assert np.array_equal(read(of(file, values=NUCLEI)), square(1))
    assert np.array_equal(read(of(file)), square(1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_of_a_palette_the_indices_count(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"mask{suffix}"
    picture = Image.fromarray(square(1)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(file)
    assert np.array_equal(read(of(file)), square(1))


def test_values_are_any_and_some_count_nowhere() -> None:
    mask = square(2)
    mask[0, 0], mask[5, 6] = 5, 9
    found = read(of(mask, values=TWO, ignore=(9.0,)))
    assert found[0, 0] == 2
    assert found[2, 1] == 1
    assert found[5, 6] == 255


def test_several_values_may_be_one_structure_and_a_value_several() -> None:
    mask = square(2)
    mask[0, 0] = 5
    whole = read(of(mask, values=((0, ()), (2, (0,)), (5, (0,)))))
    assert np.array_equal(whole, (mask > 0).astype(np.uint8))
    overlapping = read(of(mask, values=((0, ()), (2, (0, 1)), (5, (0,))), channels=2))
    assert np.array_equal(overlapping[..., 0], mask > 0)
    assert np.array_equal(overlapping[..., 1], mask == 2)


def test_whole_numbers_may_be_floats_and_fractions_may_not(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 6), np.float32)
    volume[1, 2, 3] = 2
    file = saved(tmp_path / "mask.nii.gz", volume)
    assert sorted(np.unique(read(of(file)))) == [0, 2]
    volume[1, 2, 4] = 0.25
    saved(file, volume)
    with pytest.raises(DataError) as caught:
        read(of(file))
    assert str(caught.value) == (
        f"The mask {file} holds fractions, such as 0.25: it was interpolated, or holds "
        "probabilities. Save the labels themselves, resampled by nearest neighbour."
    )
    volume[1, 2, 4] = np.nan
    with pytest.raises(DataError, match="The mask in memory holds nan"):
        read(of(DecodedImage(values=volume)))


def test_a_value_without_a_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    mask = square()
    mask[0, 0] = 3
    Image.fromarray(mask).save(file)
    with pytest.raises(DataError) as caught:
        read(of(file, values=NUCLEI))
    assert str(caught.value) == (
        f"The mask {file} has the value 3, which no label names. Named are 0, 255. Add to "
        "dataset.labels, or to dataset.ignore what is to count nowhere."
    )


def test_a_mask_that_was_saved_as_jpeg_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "mask.jpg"
    Image.fromarray(square()).save(file)
    with pytest.raises(DataError) as caught:
        read(of(file, values=NUCLEI))
    assert str(caught.value).endswith(
        ": it was saved as JPEG, which changes values. Save labels as PNG or NIfTI."
    )
    with pytest.raises(DataError, match="was saved as JPEG"):
        read(of((str(file),)))
    copied = tmp_path / "mask.png"
    Image.open(file).save(copied)
    with pytest.raises(DataError, match="is an image, or a mask that was saved as JPEG"):
        read(of(copied, values=NUCLEI))


def test_colours_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(np.stack([square(), square(0), square(0)], -1)).save(file)
    with pytest.raises(DataError) as caught:
        read(of(file, values=NUCLEI))
    assert str(caught.value) == (
        f"The mask {file} has 3 channels of different values. Save it with one number for each "
        "pixel, or a file for each structure; or name its colours in dataset.labels, such as "
        "'#ff0000'."
    )


def test_a_row_short_or_turned_is_refused() -> None:
    image = DecodedImage(values=np.zeros((6, 7), np.uint8))
    with pytest.raises(DataError) as caught:
        read(of(square()[:5]), image)
    assert str(caught.value) == (
        "The mask in memory has 5 x 7 pixels, and its image 6 x 7. Resample it onto the image's "
        "grid, by nearest neighbour."
    )
    with pytest.raises(DataError, match=r"7 x 6 pixels, and its image 6 x 7. It is turned."):
        read(of(square().T), image)


def shifted(millimetres: float) -> np.ndarray[Any, Any]:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[2, 3] += millimetres
    return affine


@pytest.mark.parametrize("away", [0.0, 2e-8, 0.19])
def test_a_grid_that_is_nearly_the_same_is_the_same(tmp_path: Path, away: float) -> None:
    image = read_sample_image(
        str(saved(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8), shifted(0))), Reading()
    )
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1, 2, 3] = 1
    label = of(saved(tmp_path / "b.nii", mask, shifted(away)))
    assert read(label, image).sum() == 1


def test_another_grid_is_refused(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 6), np.uint8)
    image = read_sample_image(str(saved(tmp_path / "a.nii", volume, shifted(0))), Reading())
    file = saved(tmp_path / "b.nii", volume, shifted(5))
    with pytest.raises(DataError) as caught:
        read(of(file), image)
    assert str(caught.value) == (
        f"The mask {file} lies up to 2.5 voxels from its image, as the two affines say. Resample "
        "it onto the image's grid by nearest neighbour, correct the affine that is wrong, or set "
        'dataset.on_mismatch = "resample".'
    )
    flipped = shifted(0)
    flipped[0, 0], flipped[0, 3] = -1, 3
    with pytest.raises(DataError, match=r"lies up to 3.0 voxels from its image"):
        read(of(saved(file, volume, flipped)), image)


def test_one_mask_for_each_structure(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    left, right = square(), np.roll(square(), 2, axis=0)
    Image.fromarray(left).save(one)
    Image.fromarray(right).save(other)
    label = of((str(one), str(other)))
    assert np.array_equal(read(label), (left > 0) + 2 * (right > 0).astype(np.uint8))
    right[3, 1] = 255
    Image.fromarray(right).save(other)
    with pytest.raises(DataError) as caught:
        read(label)
    assert str(caught.value) == (
        f"The masks {one} and {other} overlap in 1 pixel. Set overlapping = true in "
        "[dataset.task], if they may."
    )
    both = read(of((str(one), str(other)), channels=2))
    assert np.array_equal(both, np.stack([left > 0, right > 0], -1))


def test_a_structure_that_is_not_annotated_counts_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(square()).save(file)
    alone = read(of((str(file), None)))
    assert set(np.unique(alone[square() == 0])) == {255}
    assert set(np.unique(alone[square() > 0])) == {1}
    channels = read(of((None, str(file)), channels=2))
    assert (channels[..., 0] == 255).all()
    assert np.array_equal(channels[..., 1], square(1))
    with pytest.raises(DataError, match="names no mask"):
        read(of((None, None)))


@given(st.lists(st.integers(-9, 900), min_size=1, max_size=6, unique=True), st.data())
def test_every_value_is_found_again(values: list[int], data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(values), min_size=12, max_size=12))
    kind = data.draw(st.sampled_from([np.int16, np.int64, np.float32, np.float64]))
    mask = np.array(cells, kind).reshape(3, 4)
    meaning = tuple((float(value), (place,)) for place, value in enumerate(values))
    found = read(of(mask, values=meaning))
    assert np.array_equal(np.array(values)[found - 1], mask)
