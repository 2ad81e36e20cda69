"""Small made-up data sets in the layouts of public ones, for the tests.

Nothing here is of a person: images are drawn, and every number is made up. A class shows in the
picture (brightness), so that a small network can learn it.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rows = list[dict[str, Any]]


def picture(seed: int, *, bright: float, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A grey picture of its own, of (height, width)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    noise = generator.integers(0, 60, size=size)
    noise[8:24, 8:24] += int(bright * 180)
    return noise.astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write a picture; the suffix says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def table(path: Path, rows: Rows, *, delimiter: str = ",") -> Path:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def kermany(root: Path) -> None:
    """Chest X-rays of Kermany et al. 2018: the patient is in the file's name, two ways."""
    for number in range(24):
        patient, kind = number // 2, "bacteria" if number % 4 < 2 else "virus"
        ill = f"PNEUMONIA/person{patient}_{kind}_{number}.jpeg"
        save(root / ill, picture(number, bright=1.0, size=(40 + number, 44)), quality=95)
        well = f"NORMAL/NORMAL2-IM-{1000 + patient}-{number:04d}.jpeg"
        save(root / well, picture(100 + number, bright=0.0, size=(36, 40 + number)), quality=95)


def kermany_with_splits(root: Path) -> None:
    """The same with folders ``train`` and ``test``; a patient has several images."""
    for split, patients in (("train", range(12)), ("test", range(12, 16))):
        for patient in patients:
            for view in range(2):
                for kind, bright in (("NORMAL", 0.0), ("PNEUMONIA", 1.0)):
                    number = patient * 4 + view * 2 + (kind == "PNEUMONIA")
                    name = f"{split}/{kind}/person{patient}_{number}.png"
                    save(root / name, picture(number, bright=bright))


def nih(root: Path) -> None:
    """NIH chest X-rays (Wang et al. 2017): findings joined by ``|``, a patient's many visits."""
    rows: Rows = []
    for patient in range(1, 25):
        for visit in range(3):
            number = patient * 3 + visit
            found = [
                name
                for place, name in enumerate(("Cardiomegaly", "Effusion", "Hernia"))
                if (patient + visit) % (place + 2) == 0
            ]
            name = f"{patient:08d}_{visit:03d}.png"
            save(root / "images" / name, picture(number, bright=len(found) / 3))
            rows.append(
                {
                    "Image Index": name,
                    "Finding Labels": "|".join(found) or "No Finding",
                    "Patient ID": patient,
                    "Patient Age": 20 + patient,
                    "Patient Gender": "FM"[patient % 2],
                }
            )
    table(root / "Data_Entry_2017.csv", rows)


def covid(root: Path) -> None:
    """The covid-chestxray collection: several images a patient, absent files, blank labels."""
    rows: Rows = []
    for patient in range(20):
        for view in range(2):
            number = patient * 2 + view
            finding = ("Pneumonia/Viral/COVID-19", "Pneumonia/Viral/SARS", "No Finding")[
                patient % 3
            ]
            row = {
                "patientid": f"p{patient}",
                "finding": "" if number in (3, 17) else finding,
                "view": "CT" if number == 8 else ("PA", "AP")[view],
                "folder": "images",
                "filename": f"im{number}.png",
            }
            rows.append(row)
            if number not in (5, 11):
                save(
                    root / "images" / row["filename"],
                    picture(number, bright=float(patient % 3 == 2)),
                )
    table(root / "metadata.csv", rows)


def mixed(root: Path) -> None:
    """Grey, RGB, RGBA, palette, 16-bit and turned images of many sizes, in two classes."""
    for number in range(36):
        kind, bright = ("dark", 0.0) if number % 2 else ("light", 1.0)
        grey = picture(number, bright=bright, size=(33 + number, 60 - number))
        colour = np.stack([grey, grey, grey], axis=-1)
        image: Image.Image
        options: dict[str, Any] = {}
        match number // 6:
            case 0:
                image, suffix = Image.fromarray(grey), "png"
            case 1:
                image, suffix = Image.fromarray(colour), "jpg"
            case 2:
                alpha = np.full(grey.shape, 255, np.uint8)
                image, suffix = Image.fromarray(np.dstack([colour, alpha])), "png"
            case 3:
                image, suffix = Image.fromarray(colour).quantize(64), "png"
            case 4:
                image, suffix = Image.fromarray(grey.astype(np.uint16) * 257), "tif"
            case _:
                image, suffix = Image.fromarray(colour), "jpeg"
                exif = Image.Exif()
                exif[0x0112] = 6  # to be shown turned by a quarter
                options = {"exif": exif}
        path = root / kind / f"i{number:02d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)


def imbalanced(root: Path) -> None:
    """Ten times as many of one class as of the other."""
    for number in range(88):
        kind, bright = ("rare", 1.0) if number % 11 == 0 else ("common", 0.0)
        save(root / kind / f"i{number:02d}.png", picture(number, bright=bright))


def chexpert(root: Path) -> None:
    """CheXpert (Irvin et al. 2019): columns of 1, 0, -1 (uncertain) and blank."""
    rows: Rows = []
    for patient in range(1, 25):
        for view in ("frontal", "lateral"):
            number = patient * 2 + (view == "lateral")
            path = f"CheXpert-v1.0/train/patient{patient:05d}/study1/view1_{view}.jpg"
            save(root / path, picture(number, bright=patient % 2), quality=95)
            rows.append(
                {
                    "Path": path,
                    "Sex": ("Female", "Male")[patient % 2],
                    "Frontal/Lateral": view.capitalize(),
                    "Cardiomegaly": ("1.0", "0.0", "", "-1.0")[patient % 4],
                    "Edema": ("0.0", "1.0", "")[patient % 3],
                    "Fracture": ("1.0", "0.0")[patient % 2],
                }
            )
    table(root / "train.csv", rows)


def bone_ages(root: Path) -> None:
    """RSNA bone age: an age in months to each hand; some are missing."""
    rows: Rows = []
    for number in range(60):
        save(root / "hands" / f"{1000 + number}.png", picture(number, bright=number / 60))
        age = "" if number == 7 else str(round(12 + 3.0 * number, 1))
        rows.append({"id": 1000 + number, "boneage": age, "male": str(number % 2 == 0)})
    table(root / "ages.csv", rows)


def volume(path: Path, seed: int, *, bright: float, shape: tuple[int, ...] = (20, 22, 18)) -> Path:
    """Write a NIfTI volume of (x, y, z)."""
    import nibabel

    generator = np.random.Generator(np.random.PCG64(seed))
    voxels = generator.integers(0, 60, size=shape).astype(np.int16)
    voxels[4:14, 4:14, 4:14] += int(bright * 180)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 1.5, 1.0])), path)  # type: ignore[no-untyped-call]
    return path


def brains(root: Path) -> None:
    """Volumes of ragged shapes named by a table, as in OASIS or ADNI; two visits each."""
    rows: Rows = []
    for subject in range(12):
        for visit in range(2):
            number = subject * 2 + visit
            name = f"sub-{subject:02d}/ses-{visit}/t1.nii.gz"
            shape = (20 + subject % 3, 22 + visit, 18 + subject % 2)
            volume(root / name, number, bright=subject % 2, shape=shape)
            rows.append(
                {
                    "scan": name,
                    "subject": f"sub-{subject:02d}",
                    "group": "AD" if subject % 2 else "CN",
                }
            )
    table(root / "participants.tsv", rows, delimiter="\t")


def sequences(root: Path) -> None:
    """Two MR sequences for each case, as in BraTS, in a folder for each."""
    rows: Rows = []
    for case in range(16):
        for name in ("t1", "t2"):
            volume(
                root / f"case{case:02d}/case{case:02d}_{name}.nii.gz",
                case * 2 + (name == "t2"),
                bright=case % 2,
                shape=(20, 20, 20),
            )
        rows.append({"case": f"case{case:02d}", "grade": ("LGG", "HGG")[case % 2]})
    table(root / "grades.csv", rows)


def dicom_file(
    path: Path,
    pixels: np.ndarray,
    *,
    patient: str = "p",
    series: str = "1.2.3",
    number: int = 1,
    **tags: Any,
) -> Path:
    """Write a CT slice; `tags` are set last."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    ds.PatientID, ds.Modality = patient, "CT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = "1.2", series, number
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 2
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0, 0, 2 * number]
    ds.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def dicom_folders(root: Path) -> None:
    """A folder for each class, in it one for each patient with files without an extension."""
    for patient in range(12):
        kind = ("benign", "malignant")[patient % 2]
        folder = root / kind / f"patient{patient:02d}"
        for number in range(6):
            pixels = 1000 + 10 * picture(
                patient * 10 + number, bright=float(patient % 2), size=(24, 24)
            ).astype(np.uint16)
            dicom_file(
                folder / f"IM{number:04d}",
                pixels,
                patient=f"patient{patient:02d}",
                series=f"1.2.{patient + 1}",
                number=number,
            )
        (folder / "README").write_text("no image")


def photographs(root: Path, *, classes: int = 3) -> None:
    """Colour images of more classes, to train a network to start from."""
    for number in range(36):
        kind = number % classes
        grey = picture(number, bright=kind / (classes - 1))
        save(root / f"class{kind}/i{number:02d}.png", np.stack([grey, grey // 2, grey], axis=-1))
