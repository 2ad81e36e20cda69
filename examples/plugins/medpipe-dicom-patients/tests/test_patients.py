"""Patients, classes and what is wrong with series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from medpipe_dicom_patients import DicomPatients
from medpipe_dicom_patients.drawn import draw_patients

from medpipe.plugin import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw_patients(tmp_path / "series", patients=4)
    return tmp_path / "series"


def changed(folder: Path, **elements: Any) -> None:
    """Change elements of all files of a series; None removes one."""
    from pydicom import dcmread

    for path in folder.glob("*.dcm"):
        file: Any = dcmread(path)
        for keyword, value in elements.items():
            if value is None:
                delattr(file, keyword)
            else:
                setattr(file, keyword, value)
        file.save_as(path)


def test_the_series_of_a_patient_are_a_group_with_the_class_of_the_table(root: Path) -> None:
    (root / "case0" / "series0").rename(root / "elsewhere")
    found = DicomPatients(root=root, labels=root.parent / "labels.csv").build()
    assert found.task.names == ("negative", "positive")
    assert sorted((sample.group, sample.label) for sample in found.samples) == [
        (f"P{patient:03}", patient % 2) for patient in range(4) for _ in range(2)
    ]
    assert {sample.extra["modality"] for sample in found.samples} == {"CT"}


def test_study_descriptions_are_classes_without_a_table(root: Path) -> None:
    found = DicomPatients(root=root).build()
    assert found.task.names == ("CT Abdomen", "CT Thorax")
    assert {(sample.group, sample.label) for sample in found.samples} == {
        (f"P{patient:03}", patient % 2) for patient in range(4)
    }


def test_other_modalities_are_left_out_and_told(root: Path) -> None:
    changed(root / "case1" / "series0", Modality="MR")
    found = DicomPatients(root=root, modality="CT").build()
    assert len(found.samples) == 7
    assert "1 series of another Modality than CT were left out." in found.notes
    with pytest.raises(DataError, match="holds no DICOM series with the Modality PT"):
        DicomPatients(root=root, modality="PT").build()


def test_series_without_a_patient_or_a_class_are_faults(root: Path) -> None:
    changed(root / "case1" / "series0", PatientID="")
    changed(root / "case2" / "series1", StudyDescription=None)
    found = DicomPatients(root=root).build_with_faults()
    assert len(found.samples) == 6
    assert sorted((fault.kind, fault.message.rpartition(" has ")[2]) for fault in found.faults) == [
        ("group", "no PatientID."),
        ("label", "no StudyDescription."),
    ]
    with pytest.raises(DataError, match=r"case1.*has no PatientID"):
        DicomPatients(root=root).build()


def test_a_patient_without_a_row_is_a_fault(root: Path) -> None:
    table = root.parent / "labels.csv"
    table.write_text(table.read_text().replace("P003", "P999"))
    step = DicomPatients(root=root, labels=table)
    faults = step.build_with_faults().faults
    assert [fault.kind for fault in faults] == ["label", "label"]
    with pytest.raises(DataError, match=r"has no row for the patient 'P003'.*Add a row to"):
        step.build()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\nP000,a\n", "has no column 'patient'; its columns are id, label"),
        ("patient,label\nP000,a\nP000,b\n", "line 3: the patient 'P000' has the class 'b' here"),
        ("patient,label\nP000,\n", "line 2: a patient or a class is missing"),
    ],
)
def test_a_wrong_table_is_refused(root: Path, text: str, said: str) -> None:
    table = root.parent / "labels.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=said):
        DicomPatients(root=root, labels=table).build()
