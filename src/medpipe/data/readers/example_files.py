"""Small files of each format, for the examples of the built-in reader steps.

NumPy, Pillow, nibabel and pydicom are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def drawn_values(*shape: int, dtype: str = "uint8") -> Array:
    """Values from 0 to 250 that are not alike."""
    import numpy as np

    return np.random.default_rng(len(shape)).integers(0, 251, shape).astype(dtype)


def write_pictures(folder: Path) -> None:
    """A PNG, a JPEG, a TIFF and a BMP file."""
    from PIL import Image

    for suffix, values in (
        ("png", drawn_values(20, 24)),
        ("jpg", drawn_values(20, 24, 3)),
        ("tif", drawn_values(20, 24, dtype="uint16")),
        ("bmp", drawn_values(20, 24, 3)),
    ):
        Image.fromarray(values).save(folder / f"picture.{suffix}")


def write_nifti(folder: Path) -> None:
    """A NIfTI volume, gzipped and not."""
    import nibabel as nib
    import numpy as np

    made: Any = nib.Nifti1Image  # nibabel is not typed whole
    image = made(drawn_values(10, 12, 8, dtype="int16"), np.diag([0.5, 0.75, 2.0, 1.0]))
    for suffix in ("nii", "nii.gz"):
        nib.save(image, folder / f"volume.{suffix}")


def write_numpy(folder: Path) -> None:
    """An image as ``.npy`` and ``.npz``, and a volume."""
    import numpy as np

    np.save(folder / "image.npy", drawn_values(20, 24))
    np.savez(folder / "image.npz", image=drawn_values(20, 24))
    np.save(folder / "volume.npy", drawn_values(6, 20, 24, dtype="int16"))


def write_dicom(folder: Path) -> None:
    """A slice of a CT."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["medpipe"])
    values = drawn_values(20, 24, dtype="int16")
    dataset: Any = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    for keyword, value in {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": generate_uid(entropy_srcs=["medpipe", "series"]),
        "Modality": "CT",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelSpacing": [0.5, 0.75],
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": values.tobytes(),
    }.items():
        setattr(dataset, keyword, value)
    dataset.save_as(folder / "slice.dcm", enforce_file_format=True)
