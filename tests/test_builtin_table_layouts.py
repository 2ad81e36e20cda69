"""Tables that are laid out as those of public sets are."""

from __future__ import annotations

import math
from pathlib import Path

from medpipe.builtin.datasets.table import Table
from medpipe.plugin import Task


def fill(root: Path, *files: str) -> Path:
    """Empty files, which is all that listing needs."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_many_findings_in_one_cell_with_a_patient_column(tmp_path: Path) -> None:
    """The layout of NIH ChestX-ray14."""
    names = ("00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png")
    fill(tmp_path / "images", *names)
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,081Y,M,PA,2500,2048,0.171,0.171,\n"
        "00000003_000.png,Hernia,0,3,081Y,F,AP,2582,2991,0.143,0.143,\n"
    )
    table = Table(
        file=tmp_path / "Data_Entry_2017.csv",
        root=tmp_path / "images",
        image="Image Index",
        label="Finding Labels",
        separator="|",
        negative=("No Finding",),
        group="Patient ID",
        where={"View Position": "PA"},
        keep=("Patient Gender",),
        channels=1,
    )
    dataset = table.build()
    assert dataset.task == Task(kind="multilabel", names=("Cardiomegaly", "Emphysema"))
    assert [(s.label, s.group, s.extra["Patient Gender"]) for s in dataset.samples] == [
        ((1.0, 0.0), "1", "M"),
        ((1.0, 1.0), "1", "M"),
        ((0.0, 0.0), "2", "M"),
    ]


def test_several_images_of_a_patient_absent_files_and_blank_labels(tmp_path: Path) -> None:
    """The layout of the COVID-19 image data collection."""
    fill(tmp_path, "images/a.jpg", "images/b.png", "images/d.jpeg", "volumes/e.nii.gz")
    (tmp_path / "metadata.csv").write_text(
        "patientid,offset,sex,finding,modality,folder,filename,clinical_notes\n"
        '2,0,M,Pneumonia/Viral/COVID-19,X-ray,images,a.jpg,"said: ""better"",\nlater worse"\n'
        "2,3,M,Pneumonia/Viral/COVID-19,X-ray,images,b.png,\n"
        "4,0,F,Pneumonia/Viral/SARS,X-ray,images,gone.jpg,\n"
        "5,0,,,X-ray,images,d.jpeg,\n"
        "6,0,,No Finding,X-ray,images,d.jpeg,\n"
        "7,,,Pneumonia,CT,volumes,e.nii.gz,\n"
    )
    table = Table(
        file=tmp_path / "metadata.csv",
        image="{folder}/{filename}",
        label="finding",
        classes={
            "pneumonia": ("Pneumonia", "Pneumonia/Viral/COVID-19", "Pneumonia/Viral/SARS"),
            "healthy": "No Finding",
        },
        where={"modality": "X-ray"},
        missing_labels="drop",
        missing_files="drop",
        group="patientid",
        keep=("sex", "offset"),
    )
    dataset = table.build()
    assert dataset.task.names == ("healthy", "pneumonia")
    assert [(s.id, s.label, s.group, dict(s.extra)) for s in dataset.samples] == [
        ("images/a.jpg", 1, "2", {"sex": "M", "offset": "0"}),
        ("images/b.png", 1, "2", {"sex": "M", "offset": "3"}),
        ("images/d.jpeg", 0, "6", {"sex": "", "offset": "0"}),
    ]
    assert dataset.notes == (
        "1 row without an image file was left out (dataset.missing_files), row 4.",
        "1 row without a label in column 'finding' was left out (dataset.missing_labels), row 5.",
        "1 row with other values was left out (dataset.where), row 7.",
    )


def test_blank_zero_one_and_uncertain_columns(tmp_path: Path) -> None:
    """The layout of CheXpert."""
    names = [
        "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg",
        "CheXpert-v1.0/train/patient00002/study2/view1_frontal.jpg",
        "CheXpert-v1.0/train/patient00002/study2/view2_lateral.jpg",
        "CheXpert-v1.0/train/patient00003/study1/view1_frontal.jpg",
    ]
    fill(tmp_path, *names)
    folder = tmp_path / "CheXpert-v1.0"
    (folder / "train.csv").write_text(
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Pleural Effusion\n"
        f"{names[0]},Female,68,Frontal,AP,1.0,,\n"
        f"{names[1]},Female,87,Frontal,AP,,-1.0,1.0\n"
        f"{names[2]},Female,87,Lateral,,,0.0,1.0\n"
        f"{names[3]},Male,41,Frontal,AP,,0.0,\n"
    )
    table = Table(
        file=folder / "train.csv",
        root=tmp_path,
        image="Path",
        label=("Edema", "Pleural Effusion"),
        uncertain="missing",
        missing_labels="drop",
        where={"Frontal/Lateral": "Frontal"},
        group_pattern=r"(patient\d+)",
        keep=("Sex", "Age"),
    )
    dataset = table.build()
    assert dataset.task == Task(kind="multilabel", names=("Edema", "Pleural Effusion"))
    assert [s.group for s in dataset.samples] == ["patient00002", "patient00003"]
    first, second = (s.label for s in dataset.samples)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert math.isnan(first[0])
    assert first[1] == 1.0
    assert second[0] == 0.0
    assert math.isnan(second[1])


def test_the_age_to_volumes_of_two_sequences(tmp_path: Path) -> None:
    """The layout of IXI: identifiers in the table, sites and sequences in the file names."""
    for name in ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-HH-1212"):
        fill(tmp_path, f"T1/{name}-T1.nii.gz", f"T2/{name}-T2.nii.gz")
    (tmp_path / "ixi.tsv").write_text(
        "id\tsite\tscan\tsex\tage\n"
        "IXI002\tGuys\t0828\t2\t35.80\n"
        "IXI012\tHH\t1211\t1\t38.78\n"
        "IXI013\tHH\t1212\t1\t\n"
        "IXI014\tHH\t1236\t2\t34.24\n"
    )
    table = Table(
        file=tmp_path / "ixi.tsv",
        image=("T1/{id}-{site}-{scan}-T1", "T2/{id}-{site}-{scan}-T2"),
        suffixes=(".nii.gz", ".nii"),
        label="age",
        task="regression",
        label_unit="years",
        missing_labels="drop",
        missing_files="drop",
        keep=("site", "sex"),
    )
    dataset = table.build()
    assert dataset.task == Task(kind="regression", names=("age",), unit="years")
    assert [(s.id, s.label) for s in dataset.samples] == [
        ("T1/IXI002-Guys-0828-T1", 35.8),
        ("T1/IXI012-HH-1211-T1", 38.78),
    ]
    assert dataset.samples[0].image == (
        f"{tmp_path}/T1/IXI002-Guys-0828-T1.nii.gz",
        f"{tmp_path}/T2/IXI002-Guys-0828-T2.nii.gz",
    )
    assert [dict(s.extra) for s in dataset.samples] == [
        {"site": "Guys", "sex": "2"},
        {"site": "HH", "sex": "1"},
    ]
