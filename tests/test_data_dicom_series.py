"""DICOM series as volumes: their order, their place, and what is no volume."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from medpipe.data.readers.reader import read_image, read_sample_image
from medpipe.data.scanning.scan import fingerprint
from medpipe.errors import DataError
from medpipe.steps import Reading, Sample, Series
from support.drawn_dicom import write_dicom, write_series
from support.examples import examples

VOLUME = np.random.default_rng(0).integers(-1000, 2000, (4, 3, 6)).astype(np.int16)
APART = 'Move the others to a folder of their own, or set dataset.unit = "file".'


def _series(paths: list[Path]) -> Series:
    return Series(files=[str(path) for path in paths])


def _refusal(paths: list[Path], reading: Reading = Reading()) -> str:
    with pytest.raises(DataError) as caught:
        read_image(_series(paths), reading)
    begin = f"The {len(paths)} files of a DICOM series in {paths[0].parent} are not one volume: "
    assert str(caught.value).startswith(begin)
    return str(caught.value).removeprefix(begin)


def _change(path: Path, **elements: Any) -> None:
    dataset = dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_a_volume_and_its_place(tmp_path: Path) -> None:
    found = read_image(_series(write_series(tmp_path, VOLUME)))
    np.testing.assert_array_equal(found.values, VOLUME)
    assert found.values.dtype == np.int16
    assert not found.channels
    np.testing.assert_array_equal(
        found.affine, [[-3, 0, 0, 10], [0, -2, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]]
    )


@given(st.permutations(range(6)), st.permutations(range(6)), st.booleans())
@settings(max_examples=examples(25), deadline=None)
def test_the_order_of_the_files_changes_nothing(
    order: list[int], names: list[int], placed: bool
) -> None:
    with TemporaryDirectory() as folder:
        paths = write_series(Path(folder), VOLUME)
        if not placed:  # then by their numbers
            for path in paths:
                _change(path, ImagePositionPatient=None)
        # Other names too, as the order of a folder's listing follows them.
        renamed = [
            path.rename(path.with_name(f"{n}.ima")) for path, n in zip(paths, names, strict=True)
        ]
        found = read_image(_series([renamed[index] for index in order]))
    np.testing.assert_array_equal(found.values, VOLUME)
    assert (found.affine is not None) is placed


@given(
    st.floats(-1, 1), st.floats(-1, 1), st.floats(-np.pi, np.pi), st.floats(0.5, 8), st.booleans()
)
@settings(max_examples=examples(25), deadline=None)
def test_the_affine_takes_each_voxel_to_its_place(
    tilt: float, turn: float, roll: float, between: float, reverse: bool
) -> None:
    def rotation(angle: float, axis: int) -> np.ndarray:
        matrix = np.eye(3)
        one, other = [n for n in range(3) if n != axis]
        matrix[one, one] = matrix[other, other] = np.cos(angle)
        matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
        return matrix

    axes = rotation(tilt, 0) @ rotation(turn, 1) @ rotation(roll, 2)
    normal = np.cross(axes[:, 0], axes[:, 1])
    places = [np.array([5.0, -7.0, 9.0]) + between * n * normal for n in range(6)]
    with TemporaryDirectory() as folder:
        paths = write_series(Path(folder), VOLUME)
        for n, path in enumerate(paths):
            _change(
                path,
                ImageOrientationPatient=[f"{x:.8f}" for x in (*axes[:, 0], *axes[:, 1])],
                ImagePositionPatient=[f"{x:.6f}" for x in places[n]],
                InstanceNumber=6 - n if reverse else n + 1,
            )
        found = read_image(_series(paths))
    np.testing.assert_array_equal(found.values, VOLUME)
    for column, row, depth in ((0, 0, 0), (2, 3, 5), (1, 0, 4)):
        expected = places[depth] + axes[:, 0] * 3 * column + axes[:, 1] * 2 * row
        place = (found.affine @ [column, row, depth, 1])[:3]
        np.testing.assert_allclose(place, expected * [-1, -1, 1], atol=1e-3)


def test_the_names_of_files_do_not_tell_one_series_from_another(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    sample = Sample(id="volume", image=_series(paths), label=0)
    before = fingerprint(sample, Reading())
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths[::-1], contents, strict=True):
        path.write_bytes(content)
    assert fingerprint(sample, Reading()) == before


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    for n, path in enumerate(paths):
        _change(path, RescaleSlope=n + 1, RescaleIntercept=-n)
    expected = VOLUME * np.arange(1.0, 7) - np.arange(6)
    np.testing.assert_array_equal(read_image(_series(paths)).values, expected)


def test_a_slice_without_a_rescale_among_others(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    for path in paths[:3]:
        _change(path, RescaleSlope=1, RescaleIntercept=0)  # changes nothing, and so may be missing
    np.testing.assert_array_equal(read_image(_series(paths)).values, VOLUME)
    _change(paths[1], RescaleIntercept=-1024)
    assert _refusal(paths) == (
        f"{paths[1]} has a rescale (RescaleSlope, RescaleIntercept) and {paths[3]} has none. "
        f"{APART}"
    )


def test_positions_with_one_digit_are_even(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    for n, path in enumerate(paths):
        _change(path, ImagePositionPatient=[0, 0, round(0.625 * n, 1)])
    np.testing.assert_array_equal(read_image(_series(paths)).values, VOLUME)


def test_one_slice_is_a_volume_of_depth_one(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, VOLUME[:, :, :1], SliceThickness=9)
    found = read_image(_series([path]))
    assert found.values.shape == (4, 3, 1)
    # A thickness is no distance.
    assert (found.affine, found.spacing, found.spacing_of) == (None, None, "unknown")
    _change(path, SpacingBetweenSlices=4)
    found = read_image(_series([path]))
    assert (found.spacing, found.spacing_of) == ((2, 3, 4), "patient")
    assert found.affine is not None
    assert found.affine[2, 2] == 4


def test_one_file_of_several_frames_is_its_volume(tmp_path: Path) -> None:
    frames = np.moveaxis(VOLUME, 2, 0)
    path = write_dicom(tmp_path / "a", frames)
    reading = Reading(frames="volume")
    np.testing.assert_array_equal(read_image(_series([path]), reading).values, VOLUME)


def test_colours_become_channels_of_the_volume(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    paths = [
        write_dicom(tmp_path / str(n), colours + n, colours=True, InstanceNumber=n)
        for n in range(2)
    ]
    found = read_image(_series(paths))
    assert found.channels
    np.testing.assert_array_equal(found.values, np.stack([colours, colours + 1], axis=2))
    assert read_image(_series(paths), Reading(channels=1)).values.shape == (4, 5, 2)


def test_series_stack_as_channels_where_they_lie_in_one_place(tmp_path: Path) -> None:
    one = _series(write_series(tmp_path / "one", VOLUME))
    other = _series(write_series(tmp_path / "other", VOLUME + 1))
    moved = _series(write_series(tmp_path / "moved", VOLUME, between=6))
    found = read_sample_image((one, other), Reading())
    np.testing.assert_array_equal(found.values, np.stack([VOLUME, VOLUME + 1], axis=-1))
    np.testing.assert_array_equal(found.affine, read_image(one).affine)
    with pytest.raises(DataError) as caught:
        read_sample_image((one, moved), Reading())
    assert str(caught.value) == (
        f"The images {one.files[0]} and the rest of its series and {moved.files[0]} and the rest "
        "of its series belong to one sample but lie in different places, as their affines say. "
        "Resample them to one grid."
    )


# --- refusals ---------------------------------------------------------------------------------


def test_a_slice_that_is_missing(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    del paths[3]
    assert _refusal(paths) == (
        f"the slices lie 5 mm apart, but {paths[2]} and {paths[3]} 10 mm. "
        'Add the slices that are missing, or set dataset.unit = "file".'
    )


def test_slices_in_one_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    copy = write_series(tmp_path / "copy", VOLUME[:, :, :1])[0].rename(tmp_path / "copy.dcm")
    message = _refusal([*paths, copy])
    assert message == (
        f"{paths[0]} and {copy} lie in the same place, as the copies, echoes or time points of a "
        f"scan do. {APART}"
    )


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (
            {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
            "{0} and {2} are oriented differently, as a localizer and its scan are",
        ),
        ({"PixelSpacing": [2, 2]}, "the pixels of {0} and {2} differ in size"),
        (
            {"Rows": 2, "PixelData": bytes(12)},
            "{0} has the shape (4, 3) and {2} (2, 3)",
        ),
        ({"NumberOfFrames": 2, "PixelData": bytes(48)}, "{2} has 2 frames of its own"),
        (
            {"ImagePositionPatient": None},
            "{2} doesn't say where in the patient it lies, but other files do",
        ),
    ],
    ids=["orientation", "spacing", "size", "frames", "no place"],
)
def test_slices_that_do_not_fit(tmp_path: Path, elements: dict[str, Any], reason: str) -> None:
    paths = write_series(tmp_path, VOLUME)
    _change(paths[2], **elements)
    found = _refusal(paths, Reading(frames="volume"))
    assert found == f"{reason.format(*paths)}. {APART}"


def test_slices_without_place_or_number(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME[:, :, :2])
    for path in paths:
        _change(path, ImageOrientationPatient=None, InstanceNumber=7)
    assert _refusal(paths) == f"{paths[0]} and {paths[1]} have the same InstanceNumber, 7. {APART}"
    _change(paths[1], InstanceNumber=None)
    assert _refusal(paths) == (
        f"{paths[1]} has neither a place in the patient nor an InstanceNumber. "
        'Set dataset.unit = "file".'
    )


def test_a_file_of_a_series_that_is_no_dicom(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOLUME)
    paths[4].write_bytes(b"text" * 100)
    with pytest.raises(DataError) as caught:
        read_image(_series(paths))
    assert str(caught.value) == (f"The image {paths[4]} is not a DICOM file. Remove or repair it.")
