"""Small trained runs on image files, shared by the tests of prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe import PipelineBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe import Run


def builder(**loader: Any) -> PipelineBuilder:
    """A network of a registered step, so that a run can be loaded again."""
    return (
        PipelineBuilder(device="cpu")
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised", max_epochs=1, learning_rate=3e-3)
        .loader(batch_size=16, **{"workers": 0, **loader})
        .split(validation=0.2, test=0.2)
    )


def run_on(root: Path, output: Path) -> Run:
    """A run on a folder of classes."""
    return builder().dataset("image_folder", root=root, channels=1).build().run(output)


def write_png(path: Path, values: Any) -> Path:
    """Write one image."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def write_dicom(path: Path, values: Any = None, *, series: str = "1.2.3", place: int = 0) -> Path:
    """Write a DICOM image of 16 bits, or a report, which has no pixels."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import BasicTextSRStorage, CTImageStorage, ExplicitVRLittleEndian

    path.parent.mkdir(parents=True, exist_ok=True)
    uid = f"1.2.826.0.1.{place}.{len(path.name)}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kind = BasicTextSRStorage if values is None else CTImageStorage
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(uid)
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID, file.Modality = kind, uid, "CT"
    file.SeriesInstanceUID, file.InstanceNumber = series, place + 1
    file.ImagePositionPatient = [0, 0, float(place)]
    file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    file.PixelSpacing, file.SliceThickness = [1, 1], 1
    if values is not None:
        file.Rows, file.Columns = values.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.PixelData = values.astype("<u2").tobytes()
    file.save_as(path, enforce_file_format=True)
    return path
