"""What DICOM headers say of whom and what a file shows is used, or its conflict is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe import PipelineBuilder
from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.builtin.datasets.table import Table
from medpipe.data.readers.reader import read_sample_image
from medpipe.plugin import DataError, Reading, Series, dicom_identities
from medpipe.prediction.listing import find_files
from support.drawn_dicom import write_dicom, write_series

RANDOM = np.random.default_rng(0)


def draw(path: Path, **elements: Any) -> Path:
    pixels = RANDOM.integers(0, 4096, (8, 8)).astype(np.int16)
    return write_dicom(path, pixels, **elements)


def slices(root: Path, uid: str, places: dict[int, str], **elements: Any) -> None:
    """A series whose slices lie in the folders that are named."""
    for place, folder in places.items():
        draw(
            root / folder / f"I{place}",
            SeriesInstanceUID=uid,
            InstanceNumber=place,
            ImagePositionPatient=[0, 0, 3.0 * place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            **elements,
        )


def groups(root: Path, **parameters: Any) -> dict[str, str | None]:
    dataset = ImageFolder(root=root, **parameters).build()
    return {sample.id: sample.group for sample in dataset.samples}


def notes(root: Path, **parameters: Any) -> tuple[str, ...]:
    return tuple(ImageFolder(root=root, **parameters).build().notes)


def faults(root: Path, **parameters: Any) -> list[tuple[str, str, str]]:
    found = ImageFolder(root=root, **parameters).build_with_faults().faults
    return [(fault.kind, fault.sample, fault.message.replace(f"{root}/", "")) for fault in found]


def test_a_series_in_several_folders_is_one_image(tmp_path: Path) -> None:
    slices(tmp_path, "1.1", {0: "a/p1/S0", 1: "a/p1/S0", 2: "a/p1/S1", 3: "a/p1/S1"})
    slices(tmp_path, "1.2", {0: "a/p2", 1: "a/p2"})
    slices(tmp_path, "1.3", {0: "b/x", 1: "b/y/z"})
    dataset = ImageFolder(root=tmp_path, unit="series").build()
    assert {sample.id: sample.label for sample in dataset.samples} == {
        "a/p1/1.1": 0,
        "a/p2/1.2": 0,
        "b/1.3": 1,
    }
    image = dataset.samples[0].image
    assert isinstance(image, Series)
    assert [Path(file).relative_to(tmp_path / "a/p1").as_posix() for file in image.files] == [
        "S0/I0",
        "S0/I1",
        "S1/I2",
        "S1/I3",
    ]
    found = find_files(tmp_path, reading=Reading(), unit="series")
    shapes = {
        id_: read_sample_image(one, Reading()).values.shape for id_, one in found.images.items()
    }
    assert shapes == {"a/p1/1.1": (8, 8, 4), "a/p2/1.2": (8, 8, 2), "b/1.3": (8, 8, 2)}


def test_a_series_in_two_classes_is_no_image(tmp_path: Path) -> None:
    slices(tmp_path, "1.1", {0: "a/p1", 1: "b/p1"})
    slices(tmp_path, "1.2", {0: "a/p2", 1: "a/p2"})
    slices(tmp_path, "1.3", {0: "b/p3", 1: "b/p3"})
    assert faults(tmp_path, unit="series") == [
        (
            "id",
            "1.1",
            "The series 1.1 lies in folders of two classes or splits: a/p1/I0 and b/p1/I1.",
        )
    ]
    merged = ImageFolder(root=tmp_path, unit="series", dicom_group="none").build()
    assert [sample.id for sample in merged.samples] == [
        "a/p1/1.1",
        "a/p2/1.2",
        "b/p1/1.1",
        "b/p3/1.3",
    ]


def test_a_series_in_two_parts_is_no_image(tmp_path: Path) -> None:
    slices(tmp_path, "1.1", {0: "train/a", 1: "test/a"})
    slices(tmp_path, "1.2", {0: "train/b", 1: "train/b"})
    slices(tmp_path, "1.3", {0: "test/b", 1: "test/b"})
    slices(tmp_path, "1.4", {2: "train/a", 3: "train/a"})
    splits = {"train": "train", "test": "test"}
    with pytest.raises(DataError, match="lies in folders of two classes or splits"):
        ImageFolder(root=tmp_path, unit="series", splits=splits).build()


def test_copies_of_slices_are_left_out_and_contradictions_refused(tmp_path: Path) -> None:
    slices(tmp_path, "1.1", {0: "a/p1", 1: "a/p1"})
    shutil.copytree(tmp_path / "a" / "p1", tmp_path / "a" / "p1 copy")
    slices(tmp_path, "1.2", {0: "b/p2", 1: "b/p2"})
    dataset = ImageFolder(root=tmp_path, unit="series").build()
    assert [sample.id for sample in dataset.samples] == ["a/p1 copy/1.1", "b/p2/1.2"]
    assert dataset.notes[0] == (
        "2 DICOM files are copies of others in the same series and were left out, "
        "'a/p1/I0' for one."
    )
    draw(tmp_path / "b/p2/I5", SeriesInstanceUID="1.2", SOPInstanceUID="9.9")
    draw(tmp_path / "b/p2/I6", SeriesInstanceUID="1.2", SOPInstanceUID="9.9")
    slices(tmp_path, "1.3", {0: "b/p3", 1: "b/p3"})
    assert faults(tmp_path, unit="series") == [
        (
            "id",
            "b/p2/1.2",
            "The series 1.2 holds one SOPInstanceUID with two contents: b/p2/I5 and b/p2/I6.",
        )
    ]


def test_one_instance_with_two_contents_is_told(tmp_path: Path) -> None:
    for name, uid in (("a/1", "5.5"), ("b/2", "5.5"), ("b/3", "5.6")):
        draw(tmp_path / name, SOPInstanceUID=uid, PatientID=name)
    assert notes(tmp_path)[0] == (
        "1 DICOM file has the SOPInstanceUID of another file and another content, 'b/2' that of "
        "'a/1'. One UID names one image: find out which is right."
    )


def test_a_series_of_two_patients_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a/1", PatientID="P1", SeriesInstanceUID="1.1")
    draw(tmp_path / "a/2", PatientID="P2", SeriesInstanceUID="1.1")
    draw(tmp_path / "a/3", PatientID="P3", SeriesInstanceUID="1.2")
    draw(tmp_path / "b/4", PatientID="P4", SeriesInstanceUID="1.3")
    assert faults(tmp_path, unit="series") == [
        ("id", "a/1.1", "The series 1.1 is of two patients, 'P1' in a/1 and 'P2' in a/2.")
    ]


def test_the_patient_is_the_group(tmp_path: Path) -> None:
    draw(tmp_path / "a/1", PatientID="P1")
    draw(tmp_path / "a/2", PatientID="P1 ")
    draw(tmp_path / "b/3", PatientID="P2")
    draw(tmp_path / "b/4", PatientID="P2", IssuerOfPatientID="North")
    draw(tmp_path / "b/5", PatientID="P1", IssuerOfPatientID="North")
    draw(tmp_path / "b/6", PatientID="P1", IssuerOfPatientID="South")
    assert groups(tmp_path) == {
        "a/1": "P1",
        "a/2": "P1",
        "b/3": "P2",
        "b/4": "P2",
        "b/5": "North/P1",
        "b/6": "South/P1",
    }
    assert notes(tmp_path) == (
        "The groups of 6 DICOM images are made from PatientID: 4 patients (dataset.dicom_group).",
    )
    assert set(groups(tmp_path, dicom_group="none").values()) == {None}


@pytest.mark.parametrize(
    "nobody", [None, "", " ", "ANON", "0", "000", "Anonymous", "XXX", "Trial 7"]
)
def test_an_id_that_tells_nobody_apart_is_no_patient(tmp_path: Path, nobody: str | None) -> None:
    more = {} if nobody is None else {"PatientID": nobody}
    for place in range(6):
        draw(tmp_path / "ab"[place % 2] / str(place), StudyInstanceUID=f"7.{place // 3}", **more)
    assert groups(tmp_path)["a/0"] == groups(tmp_path)["b/1"] == "7.0"
    assert notes(tmp_path) == (
        "The groups of 6 DICOM images are made from StudyInstanceUID: 2 studies "
        "(dataset.dicom_group).",
    )


def test_without_patient_and_study_a_series_is_a_group(tmp_path: Path) -> None:
    for place in range(6):
        uid = f"8.{place // 2}"
        draw(tmp_path / "ab"[place % 2] / str(place), StudyInstanceUID="7", SeriesInstanceUID=uid)
    assert groups(tmp_path) == {
        "a/0": "8.0",
        "b/1": "8.0",
        "a/2": "8.1",
        "b/3": "8.1",
        "a/4": "8.2",
        "b/5": "8.2",
    }


def test_where_nothing_tells_images_apart_each_is_its_own(tmp_path: Path) -> None:
    for place in range(4):
        draw(tmp_path / "ab"[place % 2] / str(place), PatientID="ANON")
    assert set(groups(tmp_path).values()) == {None}
    assert notes(tmp_path) == (
        "The headers of 4 DICOM images name no patient: each is a group of its own.",
    )


def test_who_is_nobody_in_one_file_is_who_the_study_is_of(tmp_path: Path) -> None:
    draw(tmp_path / "a/1", PatientID="P1", StudyInstanceUID="7.1")
    draw(tmp_path / "a/2", StudyInstanceUID="7.1")
    draw(tmp_path / "b/3", PatientID="P2", StudyInstanceUID="7.2")
    draw(tmp_path / "b/4", PatientID="anonymous", StudyInstanceUID="7.3")
    assert groups(tmp_path) == {"a/1": "P1", "a/2": "P1", "b/3": "P2", "b/4": "7.3"}


def test_patients_that_may_be_one_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a/1", PatientID="p01", StudyInstanceUID="7.1")
    draw(tmp_path / "a/2", PatientID="P01", StudyInstanceUID="7.1")
    draw(tmp_path / "b/3", PatientID="P02", StudyInstanceUID="7.2")
    assert notes(tmp_path)[1:] == (
        "1 StudyInstanceUID has several PatientIDs, '7.1' 'P01', 'p01': a study is of one "
        "patient, so find out which PatientID is right.",
        "Some PatientIDs differ only in case, in spaces or in how a number is written, and are "
        "taken for several patients: 'P01', 'p01'.",
    )


def test_parts_that_divide_a_patient_are_an_error(tmp_path: Path) -> None:
    for place, name in enumerate(("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        draw(tmp_path / name, PatientID=f"P{place % 3}", SeriesInstanceUID=f"1.{place}")
    builder = (
        PipelineBuilder(device="cpu")
        .dataset("image_folder", root=tmp_path, splits={"train": "train", "test": "test"})
        .network("resnet10", widen_factor=0.0625)
        .split(validation=0)
    )
    assert "'P0' (training, test)" in str(builder.build().check())


def test_given_groups_that_divide_a_patient_are_refused(tmp_path: Path) -> None:
    for name, patient in (("a/g1_1", "P1"), ("a/g2_2", "P1"), ("b/g3_3", "P2")):
        draw(tmp_path / name, PatientID=patient)
    pattern = {"group_pattern": r"(g\d)_"}
    said = "PatientID 'P1', whose images are in 2 groups: 'g1', 'g2'."
    assert faults(tmp_path, **pattern) == [
        ("group", "a/g1_1", f"The sample 'a/g1_1' has the {said}"),
        ("group", "a/g2_2", f"The sample 'a/g2_2' has the {said}"),
    ]
    assert groups(tmp_path, dicom_group="none", **pattern) == {
        "a/g1_1": "g1",
        "a/g2_2": "g2",
        "b/g3_3": "g3",
    }


def test_images_without_a_given_group_get_that_of_their_patient(tmp_path: Path) -> None:
    for name, patient in (("a/g1_1", "P1"), ("a/x", "P1"), ("b/y", "P2"), ("b/z", "P2")):
        draw(tmp_path / name, PatientID=patient)
    assert groups(tmp_path, group_pattern=r"(g\d)_", ungrouped="own") == {
        "a/g1_1": "g1",
        "a/x": "g1",
        "b/y": "PatientID P2",
        "b/z": "PatientID P2",
    }
    draw(tmp_path / "b/w", PatientID="")
    notes = ImageFolder(root=tmp_path, group_pattern=r"(g\d)_", ungrouped="own").build().notes
    assert notes == (
        "1 image in which dataset.group_pattern captures nothing is a group of its own "
        "(dataset.ungrouped), 'b/w'.",
        "3 images in which dataset.group_pattern captures nothing have those of their headers "
        "(dataset.dicom_group), 'a/x' for one.",
    )


def test_rows_without_a_given_group_get_that_of_their_patient(tmp_path: Path) -> None:
    for name, patient in (("1.dcm", "P1"), ("2.dcm", "P1"), ("3.dcm", "P2"), ("4.dcm", "")):
        draw(tmp_path / name, PatientID=patient)
    file = tmp_path / "t.csv"
    file.write_text("image,label,who\n1.dcm,a,x\n2.dcm,b,\n3.dcm,a,z\n4.dcm,b,\n")
    dataset = Table(file=file, group="who", ungrouped="own").build()
    assert [sample.group for sample in dataset.samples] == ["x", "x", "z", None]
    assert dataset.notes == (
        "1 row without a group is a group of its own (dataset.ungrouped), row 5.",
        "1 row without a group has that of its header (dataset.dicom_group), row 3.",
    )


def test_a_table_of_dicom_files_has_the_same_groups(tmp_path: Path) -> None:
    for name, patient in (("1.dcm", "P1"), ("2", "P1"), ("3.dcm", "P2"), ("4.dcm", "P3")):
        draw(tmp_path / name, PatientID=patient)
    file = tmp_path / "t.csv"
    file.write_text("image,label,who\n1.dcm,a,x\n2,b,y\n3.dcm,a,z\n4.dcm,b,z\n")
    dataset = Table(file=file).build()
    assert [sample.group for sample in dataset.samples] == ["P1", "P1", "P2", "P3"]
    assert dataset.notes == (
        "The groups of 4 DICOM images are made from PatientID: 3 patients (dataset.dicom_group).",
    )
    with pytest.raises(DataError) as caught:
        Table(file=file, group="who").build()
    assert "row 2: The sample '1.dcm' has the PatientID 'P1'" in str(caught.value)
    assert "row 3: The sample '2' has the PatientID 'P1'" in str(caught.value)
    own = Table(file=file, group="who", dicom_group="none").build()
    assert [sample.group for sample in own.samples] == ["x", "y", "z", "z"]


def test_two_rows_with_one_series_are_refused(tmp_path: Path) -> None:
    volume = np.zeros((3, 4, 2), np.int16)
    for name, uid in (("p1", "1.1"), ("p2", "1.1"), ("p3", "1.2")):
        write_series(tmp_path / name, volume, SeriesInstanceUID=uid)
    (tmp_path / "t.csv").write_text("image,label\np1,a\np2,b\np3,a\n")
    with pytest.raises(DataError) as caught:
        Table(file=tmp_path / "t.csv", unit="series").build()
    assert "row 2: 'p1' and 'p2' hold one series, 1.1." in str(caught.value)
    assert "row 3: 'p2' and 'p1' hold one series, 1.1." in str(caught.value)
    Table(file=tmp_path / "t.csv", unit="series", dicom_group="none").build()


def test_the_description_of_a_study_is_read_without_invisible_characters(tmp_path: Path) -> None:
    values = np.zeros((4, 4), np.uint8)
    for name, said in (("said", "CT Thorax\u200b "), ("blank", " "), ("absent", "")):
        elements = {"StudyDescription": said, "SpecificCharacterSet": "ISO_IR 192"}
        write_dicom(tmp_path / f"{name}.dcm", values, **(elements if said else {}))
    files = {path.stem: str(path) for path in tmp_path.iterdir()}
    found = dicom_identities(files, [])
    assert {name: one.study_description for name, one in found.items()} == {
        "said": "CT Thorax",
        "blank": None,
        "absent": None,
    }
