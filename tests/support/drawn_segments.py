"""A CT series for tests, and DICOM segmentations of it, written by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medpipe.steps import Series
from support.drawn_dicom import write_series

SIDES = (9, 12, 7)
"""Rows, columns and slices."""


def volume(number: int, sides: tuple[int, int, int] = SIDES) -> tuple[Any, Any]:
    """A block with a core on noise, and its mask of 0, 1 and 2."""
    mask = np.zeros(sides, np.uint8)
    mask[2:7, 3 : 8 + number % 3, 2:5] = 1
    mask[3:5, 4:6, 3 : 4 + number % 2] = 2
    noise = np.random.default_rng(number).normal(0, 20, sides)
    return (400.0 * mask + noise).astype(np.int16), mask


def series(folder: Path, values: Any, **elements: Any) -> Series:
    """The files of a series with all that highdicom asks of a patient and a study."""
    study = {
        "PatientID": folder.name,
        "PatientName": "Nobody^",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "StudyID": "1",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "CT",
        "SliceThickness": 5,
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
    }
    places = {**study, **elements}
    files = write_series(folder, values, **places)
    for number, file in enumerate(files):  # along the normal of the planes
        dataset = dcmread(file)
        dataset.ImagePositionPatient = [-10 - 5.0 * number, -20, 30]
        dataset.save_as(file)
    return Series(files=[str(file) for file in files])


def segmentation(
    path: Path,
    of: Series,
    mask: Any,
    labels: Sequence[str],
    *,
    kind: str = "BINARY",
    numbers: Sequence[int] | None = None,
    **more: Any,
) -> Path:
    """Write a segmentation.

    Args:
        path: Its file.
        of: The series.
        mask: Of shape (rows, columns, slices[, segments]), slices as the volume has them.
        labels: Of the segments.
        kind: BINARY, LABELMAP or FRACTIONAL.
        numbers: Of the segments; None: 1, 2, and so on.
        more: Further arguments of highdicom's.
    """
    seg: Any = pytest.importorskip("highdicom.seg", reason="needs the extra dicomseg")
    slices = [dcmread(file) for file in of.files]
    slices.sort(key=lambda one: -one.ImagePositionPatient[0])  # the normal points to the right
    described = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
        )
        for number, label in zip(numbers or range(1, len(labels) + 1), labels, strict=True)
    ]
    made = seg.Segmentation(
        source_images=slices,
        pixel_array=np.moveaxis(mask, 2, 0),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        **more,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path
