"""DICOM files for tests: a small, valid file from an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

OF_PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PixelData"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)


def dicom(values: np.ndarray, *, colours: bool = False, **elements: Any) -> FileDataset:
    """A data set that holds `values`: (height, width) or (frames, height, width).

    Args:
        values: Whole numbers, signed or not.
        colours: Whether a last axis holds red, green and blue.
        elements: Any other elements, by keyword; None leaves one out.
    """
    frames = values.ndim - colours == 3
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = "1.2.3"
    sides = values.shape[frames:]
    dataset.Rows, dataset.Columns = sides[:2]
    dataset.SamplesPerPixel = 3 if colours else 1
    dataset.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = values.shape[0]
    bits = values.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    pixels = np.ascontiguousarray(values).tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def write_dicom(path: Path, values: np.ndarray, **elements: Any) -> Path:
    """Write the data set of `dicom`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(values, **elements).save_as(path, enforce_file_format=True)
    return path


def write_black(path: Path, *, series: str = "1.2.3") -> Path:
    """Write an image of 4 by 4 pixels, all black."""
    return write_dicom(path, np.zeros((4, 4), np.uint8), SeriesInstanceUID=series)


def write_report(path: Path) -> Path:
    """Write a report, which has no pixels."""
    absent = dict.fromkeys(OF_PIXELS)
    return write_dicom(path, np.zeros((4, 4), np.uint8), SOPClassUID=BasicTextSRStorage, **absent)


def write_series(
    folder: Path, volume: np.ndarray, *, between: float = 5.0, **elements: Any
) -> list[Path]:
    """Write the slices of a volume (height, width, depth), each above the one before."""
    return [
        write_dicom(
            folder / f"{index}.dcm",
            volume[:, :, index],
            **{
                "ImagePositionPatient": [-10, -20, 30 + between * index],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "PixelSpacing": [2, 3],
                "InstanceNumber": index + 1,
                **elements,
            },
        )
        for index in range(volume.shape[2])
    ]


def items(**elements: Any) -> list[Dataset]:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]
