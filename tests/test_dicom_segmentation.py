"""Masks as DICOM segmentations, written by highdicom of series that the tests write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from medpipe.builtin.datasets.table import Table
from medpipe.data.readers.reader import read_sample_image
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import (
    DataError,
    LabelImage,
    Reading,
    Segmentation,
    Series,
    read_image,
    read_label,
)
from support.drawn_segments import SIDES, segmentation, series, volume

BOTH = ("block", "core")
VALUES = ((0, ()), (1, (0,)), (2, (1,)))


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[Series, Any]:
    values, mask = volume(1)
    return series(tmp_path / "ct", values), mask


def read(path: Path, of: Series, **known: Any) -> Any:
    label = LabelImage(image=str(path), **{"values": VALUES, **known})
    return read_label(label, read_image(of), Reading()).values


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_lie_where_their_frames_do(
    tmp_path: Path, drawn: tuple[Series, Any], kind: str
) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH, kind=kind)
    assert dcmread(path).NumberOfFrames < SIDES[2] * 2  # empty slices have no frame
    assert np.array_equal(read(path, of), mask)
    assert np.array_equal(read(path, Series(files=of.files[::-1])), mask)


@pytest.mark.parametrize(
    "turn", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, 0.8, -0.6, 0)]
)
def test_whatever_the_orientation(tmp_path: Path, turn: tuple[float, ...]) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values, ImageOrientationPatient=list(turn))
    normal = np.cross(turn[:3], turn[3:])
    for number, file in enumerate(of.files):
        dataset = dcmread(file)
        dataset.ImagePositionPatient = [float(each) for each in [5, 6, 7] + 2.5 * number * normal]
        dataset.save_as(file)
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    assert np.array_equal(read(path, of), mask)


def test_numbers_of_a_label_map_are_any(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    numbered = np.array([0, 7, 40], np.uint8)[mask]
    path = segmentation(tmp_path / "seg.dcm", of, numbered, BOTH, kind="LABELMAP", numbers=(7, 40))
    assert np.array_equal(read(path, of, values=((0, ()), (40, (1,)), (7, (0,)))), mask)


def test_segments_may_be_named_by_their_labels(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, ("Block", "Core of it"))
    values = ((0, ()), ("Core of it", (0,)), ("Block", (1,)))
    assert np.array_equal(read(path, of, values=values), np.array([0, 2, 1])[mask])
    values = ((0, ()), ("Block", ()), ("Core of it", (0,)))
    assert np.array_equal(read(path, of, values=values), mask == 2)
    some = read(path, of, values=((0, ()), (1, (0,))), ignore=("Core of it",))
    assert np.array_equal(some, np.array([0, 1, 255])[mask])


def test_a_segment_without_a_name_is_refused(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    with pytest.raises(DataError) as caught:
        read(path, of, values=((0, ()), ("block", (0,))))
    assert str(caught.value) == (
        f"The mask {path} has the segment 2 ('core'), which no label names. Named are 0, 'block'. "
        "Add to dataset.labels (to its background what is none of the structures), or to "
        "dataset.ignore what is to count nowhere."
    )


def test_segments_that_overlap_are_structures_that_may(
    tmp_path: Path, drawn: tuple[Series, Any]
) -> None:
    of, mask = drawn
    each = np.stack([mask > 0, mask == 2], -1)
    path = segmentation(tmp_path / "seg.dcm", of, each.astype(np.uint8), BOTH)
    assert np.array_equal(read(path, of, channels=2), each)
    with pytest.raises(DataError) as caught:
        read(path, of)
    count = (mask == 2).sum()
    assert str(caught.value) == (
        f"The segments 1 ('block') and 2 ('core') of the mask {path} overlap in {count} pixels. "
        "Set overlapping = true in [dataset.task], if they may."
    )
    as_one = ((0, ()), (1, (0,)), (2, (0,)))
    assert np.array_equal(read(path, of, values=as_one), mask > 0)


def test_a_fractional_segmentation_is_refused(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, (mask > 0) * 0.5, ("block",), kind="FRACTIONAL")
    with pytest.raises(DataError) as caught:
        read(path, of)
    assert str(caught.value) == (
        f"The mask {path} is a fractional DICOM segmentation: it holds probabilities or shares of "
        "voxels, and no structures. Save it as BINARY or LABELMAP, cut at the share that is to "
        "count."
    )


def moved(path: Path, millimetres: float) -> None:
    """Move all frames along the columns."""
    dataset = dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        x, y, z = place.ImagePositionPatient
        place.ImagePositionPatient = [x, y + millimetres, z]
    dataset.save_as(path)


def test_another_grid_is_refused_or_resampled(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    moved(path, 0.2)  # of voxels of 3 mm
    assert np.array_equal(read(path, of), mask)
    moved(path, 2.8)
    with pytest.raises(DataError) as caught:
        read(path, of)
    assert str(caught.value) == (
        f"The mask {path} lies up to 1.0 voxels from its image, as the two affines say. Resample "
        "it onto the image's grid by nearest neighbour, correct the affine that is wrong, or set "
        'dataset.on_mismatch = "resample".'
    )
    assert np.array_equal(read(path, of, on_mismatch="resample"), np.roll(mask, 1, axis=1))


def test_frames_of_another_size_or_beyond_the_image_are_refused(
    tmp_path: Path, drawn: tuple[Series, Any]
) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    other = series(tmp_path / "other", volume(1, (8, 12, 7))[0])
    with pytest.raises(DataError, match=r"has frames of 9 x 12 pixels, and its image 8 x 12\."):
        read(path, other)
    with pytest.raises(DataError, match=r"lies up to \d\.0 voxels from its image"):
        read(path, Series(files=sorted(of.files)[:3]))


def test_an_image_that_lies_nowhere_has_no_segments(
    tmp_path: Path, drawn: tuple[Series, Any]
) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    for way in ("error", "resample"):
        label = LabelImage(image=str(path), values=VALUES, on_mismatch=way)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="its image doesn't say where it lies"):
            read_label(label, read_sample_image(np.zeros(SIDES[:2]), Reading()), Reading())


def test_without_highdicom_the_extra_is_named(
    tmp_path: Path, drawn: tuple[Series, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    with pytest.raises(DataError) as caught:
        read(path, of)
    assert str(caught.value) == (
        f"The mask {path} is a DICOM segmentation, which highdicom reads. Install it: pip install "
        '"medpipe-imaging[dicomseg]".'
    )


def test_a_damaged_segmentation_is_named(tmp_path: Path, drawn: tuple[Series, Any]) -> None:
    of, mask = drawn
    path = segmentation(tmp_path / "seg.dcm", of, mask, BOTH)
    dataset = dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    with pytest.raises(DataError, match=rf"{path} "):
        read(path, of)


def test_a_segmentation_of_another_writer_is_read() -> None:
    """Of a liver, by dcmqi; pydicom brings it."""
    pytest.importorskip("highdicom", reason="needs the extra dicomseg")
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "liver_1frame.dcm"
    values = ((0, ()), ("Liver", (0,)))
    found = read_label(LabelImage(image=str(path), values=values), None, Reading())
    assert np.array_equal(found.values[..., 0], dcmread(path).pixel_array)
    assert found.affine is not None


def test_a_table_of_series_and_segmentations(tmp_path: Path) -> None:
    rows = ["image,mask,organ,lesion"]
    masks = []
    for number in range(3):
        values, mask = volume(number)
        of = series(tmp_path / f"ct{number}", values)
        segmentation(tmp_path / "seg" / f"{number}.dcm", of, mask, BOTH)
        segmentation(tmp_path / "organ" / f"{number}.dcm", of, (mask == 1) * np.uint8(1), ("a",))
        segmentation(tmp_path / "core" / f"{number}.dcm", of, (mask == 2) * np.uint8(1), ("a",))
        rows.append(f"ct{number},seg/{number}.dcm,organ/{number}.dcm,core/{number}.dcm")
        masks.append(mask)
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for named in (
        {"mask": "mask", "labels": {"organ": "block", "lesion": "core"}},
        {"mask": ("organ", "lesion")},
    ):
        data = Table(file=tmp_path / "list.csv", unit="series", **named).build()  # type: ignore[arg-type]
        assert data.task.names == ("organ", "lesion")
        assert data.task.step == Segmentation()  # no values: segments are numbered 1, 2, ...
        scan, faults = scan_labels(data, workers=1)
        assert faults == []
        for sample, mask in zip(data.samples, masks, strict=True):
            assert scan.counts[sample.id] == ((mask == 1).sum(), (mask == 2).sum())
            assert isinstance(sample.label, LabelImage)
            # As an evaluation reads it: of the image the grid alone is needed.
            found = read_label(sample.label, None, Reading(), of=sample.image)
            assert np.array_equal(found.values, mask)
