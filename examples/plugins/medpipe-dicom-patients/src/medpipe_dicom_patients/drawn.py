"""Drawn DICOM series, for the checks and for trying the data set.

``python -m medpipe_dicom_patients.drawn FOLDER`` draws those of 24 patients.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("CT Abdomen", "CT Thorax")


def draw_patients(folder: Path, *, patients: int) -> Path:
    """Draw two series of each patient, those of every second with a bright ball, and a table.

    Returns:
        The table: ``labels.csv`` beside the folder.
    """
    import numpy as np

    random = np.random.default_rng(0)
    rows, columns, slices = np.indices((16, 16, 8))
    ball: Array = (rows - 8) ** 2 + (columns - 8) ** 2 + (slices - 4) ** 2 < 12
    for patient in range(patients):
        for number in range(2):
            values: Array = random.normal(0, 60, (16, 16, 8))
            values[ball] += 400 * (patient % 2)
            uid = f"1.2.826.0.1.3680043.8.498.{patient + 1}.{number + 1}"
            elements = {
                "PatientID": f"P{patient:03}",
                "StudyInstanceUID": uid.rpartition(".")[0],
                "SeriesInstanceUID": uid,
                "StudyDescription": CLASSES[patient % 2],
            }
            place = folder / f"case{patient}" / f"series{number}"
            draw_series(place, values.astype(np.int16), elements)
    table = folder.parent / "labels.csv"
    rows = [f"P{patient:03},{('negative', 'positive')[patient % 2]}" for patient in range(patients)]
    table.write_text("\n".join(["patient,label", *rows, ""]), encoding="utf-8")
    return table


def draw_series(folder: Path, volume: Array, elements: dict[str, str]) -> None:
    """Write a CT series, a file for each slice of a volume (rows, columns, slices).

    Args:
        folder: Where to.
        volume: Its values.
        elements: Elements of all files by keyword; the SeriesInstanceUID among them.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(volume.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = UID(f"{elements['SeriesInstanceUID']}.{number + 1}")
        file: Any = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        for keyword, value in {
            **elements,
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "Modality": "CT",
            "InstanceNumber": number + 1,
            "ImagePositionPatient": [0, 0, 2.5 * number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
            "Rows": volume.shape[0],
            "Columns": volume.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "PixelData": volume[:, :, number].tobytes(),
        }.items():
            setattr(file, keyword, value)
        file.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    draw_patients(Path(sys.argv[1]), patients=24)
