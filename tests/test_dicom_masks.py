"""Predictions as DICOM segmentations: what is written is what is read back."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from medpipe import Run
from medpipe.data.readers.file_grid import FileGrid
from medpipe.plugin import LabelImage, Reading, Series, read_image, read_label
from medpipe.prediction.dicom_masks import segmentation
from medpipe.prediction.masks import MaskWriter
from support.blobs import blobs
from support.drawn_dicom import write_series
from support.drawn_segments import series, volume

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicomseg")
NAMES = ("block", "core")
VALUES = ((0, ()), ("block", (0,)), ("core", (1,)))


def read_back(path: Path, image: Any, **known: Any) -> Any:
    label = LabelImage(image=str(path), **{"values": VALUES, **known})
    return read_label(label, read_image(image), Reading()).values


@pytest.mark.parametrize("empty", [False, True])
def test_the_voxels_are_read_back_as_they_were(tmp_path: Path, empty: bool) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    mask *= not empty
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation(of.files[::-1], mask[None], NAMES))
    assert np.array_equal(read_back(path, of), mask)


def test_structures_that_overlap_are_in_one_file(tmp_path: Path) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    each = np.stack([mask > 0, mask == 2]).astype(np.uint8)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation(of.files, each, NAMES))
    assert np.array_equal(read_back(path, of, channels=2), np.moveaxis(each, 0, -1))


def test_it_refers_to_the_files_of_its_image(tmp_path: Path) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation(of.files, mask[None], NAMES))
    made, first = dcmread(path), dcmread(of.files[0])
    (referenced,) = made.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    told = {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence}
    assert told == {dcmread(file).SOPInstanceUID for file in of.files}
    same = ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID")
    assert all(made[name].value == first[name].value for name in same)
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["block", "core"]


def test_a_single_slice_is_referred_to_as_well(tmp_path: Path) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation(of.files[3:4], mask[None, :, :, 3], NAMES))
    assert np.array_equal(read_back(path, of.files[3]), mask[:, :, 3])


def test_frames_of_one_file_are_referred_to_in_their_own_order(tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    slices = [dcmread(file) for file in of.files]
    for one in slices:
        one.RescaleSlope, one.RescaleIntercept, one.ImageType = 1, 0, ["ORIGINAL", "PRIMARY"]
    whole = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 3, generate_uid(), 1)
    order = [3, 0, 6, 1, 2, 5, 4]
    frames, pixels = list(whole.PerFrameFunctionalGroupsSequence), whole.pixel_array[order]
    whole.PerFrameFunctionalGroupsSequence = [frames[place] for place in order]
    whole.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    whole.save_as(tmp_path / "whole.dcm")
    image = read_image(tmp_path / "whole.dcm")
    assert np.array_equal(image.values, read_image(of).values)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation([str(tmp_path / "whole.dcm")], mask[None], NAMES))
    assert np.array_equal(read_back(path, tmp_path / "whole.dcm"), mask)
    assert np.array_equal(read_back(path, of), mask)


def test_without_a_slice_thickness_the_distance_of_slices_is_taken(tmp_path: Path) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    for file in of.files:
        dataset = dcmread(file)
        del dataset.SliceThickness
        dataset.save_as(file)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation(of.files, mask[None], NAMES))
    assert np.array_equal(read_back(path, of), mask)


def written(folder: Path, image: Any, mask: Any, decoded: Any) -> tuple[list[Path], list[str]]:
    grid = FileGrid(
        affine=decoded.affine,
        file_affine=decoded.affine,
        file_shape=mask.swapaxes(0, 1).shape,
        axes="wh",
        known=True,
    )
    writer = MaskWriter(folder=folder, names=NAMES)
    return [
        path
        for stem in ("one.dcm", "two.dcm")
        for path in writer.write(stem, mask.swapaxes(0, 1)[None], grid, image)
    ], writer.notes


def test_files_without_what_it_needs_have_masks_in_nifti(tmp_path: Path) -> None:
    values, mask = volume(2)
    files = write_series(tmp_path / "ct", values)
    of = Series(files=[str(file) for file in files])
    paths, notes = written(tmp_path / "masks", of, mask, read_image(of))
    assert [path.name for path in paths] == ["one.nii.gz", "two.nii.gz"]
    (note,) = notes
    assert note == (
        f"The mask of {files[0]} is written as NIfTI: no DICOM segmentation can refer to the "
        "image's files ('FileDataset' object has no attribute 'StudyInstanceUID')."
    )


def test_without_highdicom_masks_are_nifti_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, mask = volume(2)
    of = series(tmp_path / "ct", values)
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    paths, notes = written(tmp_path / "masks", of, mask, read_image(of))
    assert [path.name for path in paths] == ["one.nii.gz", "two.nii.gz"]
    assert notes == [
        "Masks of DICOM files are written as NIfTI, since highdicom is not installed, which writes "
        'DICOM segmentations: pip install "medpipe-imaging[dicomseg]".'
    ]
    assert np.array_equal(read_image(paths[0]).values, mask)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("data")
    return blobs(root, epochs=1).build().run(tmp_path_factory.mktemp("runs") / "one")


def test_a_run_writes_what_it_would_have_written_as_nifti(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [tmp_path / "in" / name for name in "ab"]
    of = {folder.name: series(folder, volume(7, (12, 14, 12))[0]) for folder in folders}
    run.predict([tmp_path / "in"], masks=tmp_path / "seg")
    segs = sorted((tmp_path / "seg").rglob("*.dcm"))
    assert [path.parent.name for path in segs] == ["a", "b"]
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "medpipe"):
        patch.setitem(sys.modules, "highdicom.seg", None)
        found = run.predict([tmp_path / "in"], masks=tmp_path / "nifti")
    assert caplog.text.count("highdicom is not installed") == 1
    assert sum("highdicom is not installed" in note for note in found.notes) == 1
    values = ((0, ()), ("shell", (0,)), ("core", (1,)))
    for path in segs:
        (other,) = (tmp_path / "nifti" / path.parent.name).glob("*.nii.gz")
        seg = read_back(path, of[path.parent.name], values=values)
        nifti = read_image(other).values
        assert len(np.unique(seg)) > 1
        # NIfTI has the column first, and so has its reader the row.
        assert np.array_equal(seg, nifti)
        assert (dcmread(path).SegmentSequence[1].SegmentLabel) == "core"
    assert {path.suffix for paths in found.masks.values() for path in paths} == {".gz"}
