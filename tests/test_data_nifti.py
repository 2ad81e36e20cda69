"""NIfTI: values, types and places against nibabel and MONAI, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai import transforms as monai_transforms

from medpipe.builtin.transforms.monai_transforms import LoadImage
from medpipe.data.readers.reader import read_image
from medpipe.errors import DataError
from medpipe.steps import Reading
from support.examples import examples

RANDOM = np.random.default_rng(0)
AFFINE = np.array([[0, 2, 0, -5], [-3.0, 0, 0, 6], [0, 0.0, 4, 7], [0, 0, 0, 1]])
VOLUME = RANDOM.integers(-1000, 2000, (5, 4, 3)).astype(np.int16)


def _write(
    path: Path,
    values: np.ndarray,
    *,
    kind: Any = nibabel.Nifti1Image,
    scale: tuple[float, float] | None = None,
) -> Path:
    image = kind(values, AFFINE)
    if scale:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, path)
    return path


def _refusal(path: Path, reading: Reading = Reading()) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, reading)
    return str(caught.value)


FILES: dict[str, dict[str, Any]] = {
    "whole.nii": {"values": VOLUME},
    "whole.nii.gz": {"values": VOLUME},
    "second.nii.gz": {"values": VOLUME, "kind": nibabel.Nifti2Image},
    "floats.nii": {"values": RANDOM.normal(size=(5, 4, 3)).astype(np.float32)},
    "doubles.nii": {"values": RANDOM.normal(size=(5, 4, 3))},
    "scaled.nii.gz": {"values": VOLUME, "scale": (0.1, -3.0)},
    "swapped.nii": {"values": VOLUME.astype(">i2")},
    "channels.nii.gz": {"values": RANDOM.integers(0, 9, (5, 4, 3, 2)).astype(np.uint8)},
    "one_channel.nii": {"values": VOLUME[..., None]},
    "image.nii": {"values": VOLUME[..., 0]},
    "one_slice.nii": {"values": VOLUME[..., :1]},
}


@pytest.mark.parametrize("name", FILES)
def test_load_image_gives_what_monai_gives(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, **FILES[name])
    load, first = LoadImage().build(), monai_transforms.EnsureChannelFirst()
    ours: Any = load({"image": path})["image"]
    theirs: Any = monai_transforms.LoadImage()(path)
    assert ours.dtype == theirs.dtype == torch.float32
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.equal(ours.affine, theirs.affine)
    assert torch.equal(first(ours), first(theirs))
    assert ours.meta["filename_or_obj"] == theirs.meta["filename_or_obj"]
    spacing = monai_transforms.Spacing(pixdim=2.0)
    if ours.ndim > 2:
        assert torch.equal(spacing(first(ours)), spacing(first(theirs)))


def test_the_axes_and_the_place(tmp_path: Path) -> None:
    found = read_image(_write(tmp_path / "a.nii.gz", VOLUME))
    np.testing.assert_array_equal(found.values, VOLUME.swapaxes(0, 1))
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert not found.channels
    high = LoadImage(axes="hw").build()({"image": tmp_path / "a.nii.gz"})["image"]
    np.testing.assert_array_equal(high.affine, AFFINE[:, [1, 0, 2, 3]])
    np.testing.assert_array_equal(high, VOLUME.swapaxes(0, 1))


def test_number_types(tmp_path: Path) -> None:
    kinds = {
        name: read_image(_write(tmp_path / name, **options)).values.dtype
        for name, options in FILES.items()
    }
    assert kinds["whole.nii"] == kinds["swapped.nii"] == np.int16
    assert kinds["channels.nii.gz"] == np.uint8
    assert kinds["scaled.nii.gz"] == kinds["floats.nii"] == np.float32
    assert kinds["doubles.nii"] == np.float64
    assert all(kind.isnative for kind in kinds.values())


@given(
    arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32]),
        st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple),
        elements=None,
    ),
    st.sampled_from(["a.nii", "a.nii.gz"]),
)
@settings(max_examples=examples(40), deadline=None)
def test_what_is_written_is_read(values: np.ndarray, name: str) -> None:
    with TemporaryDirectory() as folder:
        path = _write(Path(folder) / name, values)
        shape = nibabel.load(path).shape  # a last axis of 1 is not always written
        found = read_image(path)
    assert found.channels is (len(shape) == 4)
    assert found.values.dtype == values.dtype
    assert found.values.flags.writeable
    np.testing.assert_array_equal(found.values.swapaxes(0, 1), values.reshape(shape))


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii.gz", VOLUME).rename(tmp_path / "scan.bin")
    np.testing.assert_array_equal(read_image(path).values, VOLUME.swapaxes(0, 1))


def test_vectors_and_colours(tmp_path: Path) -> None:
    vectors = RANDOM.normal(size=(5, 4, 3, 1, 2)).astype(np.float32)
    found = read_image(_write(tmp_path / "a.nii", vectors))
    np.testing.assert_array_equal(found.values.swapaxes(0, 1), vectors[..., 0, :])

    colours = RANDOM.integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    records = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = _write(tmp_path / "b.nii", records)
    found = read_image(path)
    assert found.channels
    np.testing.assert_array_equal(found.values.swapaxes(0, 1), colours)
    assert read_image(path, Reading(channels=1)).values.shape == (4, 5, 3)


def test_colours_at_several_times_are_no_image(tmp_path: Path) -> None:
    colours = RANDOM.integers(0, 256, (5, 4, 3, 2, 3), dtype=np.uint8)
    records = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = _write(tmp_path / "a.nii", records)
    assert _refusal(path) == (
        f"The image {path} has colours and the shape (4, 5, 3, 2). Save each time point as a file "
        "of its own."
    )


def test_a_file_of_the_other_byte_order_has_native_values(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nibabel.save(nibabel.Nifti1Image(VOLUME.astype(np.float32), AFFINE, header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    found = read_image(tmp_path / "a.nii").values
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, VOLUME.swapaxes(0, 1))


def test_what_only_begins_like_gzip_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    assert " is damaged: " in _refusal(tmp_path / "a.nii.gz")


def test_channels_are_no_colours(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", RANDOM.normal(size=(5, 4, 3, 3)).astype(np.float32))
    assert read_image(path, Reading(channels=3)).values.shape == (4, 5, 3, 3)
    assert read_image(path, Reading(channels="auto")).values.shape == (4, 5, 3, 3)
    assert _refusal(path, Reading(channels=1)) == (
        f"The image {path} has 3 channels, which can't be converted to 1. "
        'Set dataset.channels = "auto".'
    )
    grey = _write(tmp_path / "b.nii", VOLUME)
    assert read_image(grey, Reading(channels=3)).values.shape == (4, 5, 3, 3)
    one = _write(tmp_path / "c.nii", VOLUME[..., None])
    assert read_image(one, Reading(channels=1)).values.shape == (4, 5, 3)


def test_truncated_files(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", VOLUME)
    path.write_bytes(path.read_bytes()[:-1])
    assert _refusal(path) == (
        f"The image {path} is truncated: it should hold 472 bytes, not 471. Remove or repair it."
    )


def test_a_gzipped_file_is_checked_to_its_end(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii.gz", RANDOM.integers(0, 255, (20, 20, 3)).astype(np.uint8))
    content = path.read_bytes()
    for length in range(0, len(content), 47):
        path.write_bytes(content[:length])
        assert str(path) in _refusal(path)
    path.write_bytes(content[:-8] + bytes(4) + content[-4:])
    assert _refusal(path).startswith(f"The image {path} is damaged: CRC check failed")


def test_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"patient,age\n" * 99))
    assert _refusal(path) == (
        f"The image {path} is gzipped but holds no NIfTI image. "
        "Convert it to NIfTI, or leave it out."
    )
    nibabel.save(nibabel.Nifti1Pair(VOLUME, AFFINE), tmp_path / "pair.hdr")
    assert _refusal(tmp_path / "pair.hdr") == (
        f"The image {tmp_path / 'pair.hdr'} is the header of a NIfTI pair, whose values are in "
        "another file. Save the two as one .nii file."
    )
    path = _write(tmp_path / "complex.nii", VOLUME.astype(np.complex64))
    assert _refusal(path) == (
        f"The image {path} holds complex numbers. Save their magnitude, or real and imaginary "
        "parts."
    )
    path = _write(tmp_path / "time.nii", np.zeros((5, 4, 3, 2, 2), np.int16))
    assert _refusal(path) == (
        f"The image {path} has the shape (5, 4, 3, 2, 2), which is not an image of 2 or 3 "
        "dimensions with channels. Save each time point as a file of its own."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_an_affine_that_is_no_place(tmp_path: Path, value: float) -> None:
    path = _write(tmp_path / "a.nii", VOLUME)
    content = bytearray(path.read_bytes())
    content[280:328] = struct.pack("<12f", *[value] * 12)
    path.write_bytes(content)
    assert _refusal(path) == (
        f"The image {path} has no valid affine: its sform or qform is not finite or can't be "
        "inverted. Write a valid affine into its header."
    )


def test_values_inside_the_header(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", VOLUME)
    content = bytearray(path.read_bytes())
    content[108:112] = struct.pack("<f", 0)
    path.write_bytes(content)
    assert _refusal(path) == (
        f"The image {path} has its values inside its header, as vox_offset says. "
        "Remove or repair it."
    )


def test_what_nibabel_mends_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _write(tmp_path / "a.nii", VOLUME)
    content = bytearray(path.read_bytes())
    content[80:92] = struct.pack("<3f", -1, 0, 1)  # the sides of a voxel; the affine is in sform
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).values, VOLUME.swapaxes(0, 1))
    assert caplog.messages == []


def test_a_qfac_of_zero_is_one(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, None)
    image.set_qform(np.diag([2, 3, 4, 1]), code=1)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[76:80] = bytes(4)  # pixdim[0]
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).affine, np.diag([2, 3, 4, 1]))


def test_a_sheared_sform_beside_the_qform_that_comes_nearest(tmp_path: Path) -> None:
    """As dcm2niix writes scans of a tilted gantry: a qform knows no shears."""
    image = nibabel.Nifti1Image(VOLUME, None)
    affine = np.array([[2, 0, 0, -9], [0, 3, 1.5, 8], [0, 0, 4, 7], [0, 0, 0, 1]])
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    np.testing.assert_array_equal(read_image(path).affine, affine)

    image.set_qform(
        np.diag([2, 3, 4, 1]) @ [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0] * 3 + [1]]
    )
    nibabel.save(image, path)
    assert _refusal(path) == (
        f"The image {path} contradicts itself: its sform and qform say two places in one space "
        "(code 1). Set the code of the one that is wrong to 0."
    )
