"""Data sets for segmentation: a table, folders, the decathlon's layout, and drawn images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medpipe.builtin.datasets.decathlon import Decathlon
from medpipe.builtin.datasets.image_masks import ImageMasks
from medpipe.builtin.datasets.phantom_masks import PhantomMasks
from medpipe.builtin.datasets.table import Table
from medpipe.data.readers.reader import read_sample_image
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import DataError, LabelImage, Reading, Sample, Segmentation, read_label


def picture(path: Path, mask: np.ndarray[Any, Any] | None = None, *, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mask is None:
        mask = np.random.default_rng(seed).integers(0, 255, (6, 7), np.uint8)
    Image.fromarray(mask).save(path)


def square(value: int = 255, at: int = 1) -> np.ndarray[Any, Any]:
    mask = np.zeros((6, 7), np.uint8)
    mask[at : at + 3, 1:5] = value
    return mask


def label_of(sample: Sample) -> LabelImage:
    assert isinstance(sample.label, LabelImage)
    return sample.label


def mask_of(sample: Sample) -> np.ndarray[Any, Any]:
    return read_label(label_of(sample), None, Reading()).values


# Tables


def table(folder: Path, text: str, **parameters: Any) -> Table:
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8")
    return Table(file=file, **parameters)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        picture(tmp_path / f"{name}.png", seed=number)
        picture(tmp_path / "masks" / f"{name}.png", square(at=number))
        picture(tmp_path / "more" / f"{name}.png", square(255, 3))
    return tmp_path


def test_a_table_with_a_column_of_masks(folder: Path) -> None:
    data = table(
        folder,
        "image,mask,patient,part\na.png,masks/a.png,1,train\nb.png,masks\\b.png,1,train\n"
        "c.png,masks/c.png,2,test\n",
        mask="mask",
        labels={"lesion": 255},
        group="patient",
        split="part",
    ).build()
    assert data.task.step.name == "segmentation"
    assert data.task.names == ("lesion",)
    assert [(s.id, s.group, s.split) for s in data.samples] == [
        ("a.png", "1", "training"),
        ("b.png", "1", "training"),
        ("c.png", "2", "test"),
    ]
    assert np.array_equal(mask_of(data.samples[1]), square(1, 1))


def test_a_mask_for_each_structure(folder: Path) -> None:
    text = "image,liver,tumour\na.png,masks/a.png,more/a.png\n"
    data = table(folder, text, mask=("liver", "tumour")).build()
    assert data.task.names == ("liver", "tumour")
    assert mask_of(data.samples[0]).max() == 2
    both = table(
        folder,
        text,
        mask=("liver", "tumour"),
        task=Segmentation(overlapping=True),
    ).build()
    assert data.task.step.label_form == "mask"
    assert both.task.step.label_form == "masks"
    assert mask_of(both.samples[0]).shape == (6, 7, 2)


BLANK = "image,mask\na.png,masks/a.png\nb.png,\n"


def test_a_blank_cell_is_an_error_by_default(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(folder, BLANK, mask="mask", labels={"lesion": 255}).build()
    assert str(caught.value) == (
        f"{folder / 'list.csv'} can't be used:\n"
        "  row 3: no mask in column 'mask'.\n"
        'Set dataset.blank_mask = "empty" if a blank cell means that the structure is not in the '
        'image, or "not_annotated" if nobody looked.'
    )


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_blank_cell_may_mean_nothing_there(folder: Path, overlapping: bool) -> None:
    data = table(
        folder,
        BLANK,
        mask="mask",
        labels={"lesion": 255, "rim": 3},
        blank_mask="empty",
        task=Segmentation(overlapping=overlapping),
    ).build()
    found = mask_of(data.samples[1])
    assert found.shape == ((6, 7, 2) if overlapping else (6, 7))
    assert not found.any()
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert scan.counts == {"a.png": (12, 0), "b.png": (0, 0)}
    assert scan.notes == ("The structure 'rim' is in no mask.",)


def test_a_blank_cell_may_mean_not_annotated(folder: Path) -> None:
    named: dict[str, Any] = {"mask": "mask", "labels": {"lesion": 255}}
    named["blank_mask"] = "not_annotated"
    with pytest.raises(DataError, match="row 3: no label in column 'mask'"):
        table(folder, BLANK, **named).build()
    data = table(folder, BLANK, missing_labels="drop", **named).build()
    assert [sample.id for sample in data.samples] == ["a.png"]


def test_of_several_structures_some_may_be_absent_or_unknown(folder: Path) -> None:
    text = "image,liver,tumour\na.png,masks/a.png,\n"
    unknown = table(folder, text, mask=("liver", "tumour"), blank_mask="not_annotated").build()
    assert set(np.unique(mask_of(unknown.samples[0]))) == {1, 255}
    absent = table(folder, text, mask=("liver", "tumour"), blank_mask="empty").build()
    assert np.array_equal(mask_of(absent.samples[0]), square(1, 0))
    scan, faults = scan_labels(absent, workers=1)
    assert faults == []
    assert scan.counts["a.png"] == (12, 0)
    label, task = label_of(absent.samples[0]), absent.task
    turned = task.step.relabelled(label, task.names, ("tumour", "liver"))
    assert turned.absent == (0,)
    assert np.array_equal(read_label(turned, None, Reading()).values, square(2, 0))


def test_a_mask_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(folder, "image,mask\na.png,no.png\n", mask="mask", labels={"x": 255}).build()
    assert f"row 2: there is no file {folder / 'no.png'}." in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mask": "mask"}, "give the value of each structure"),
        ({"mask": ("a", "b"), "labels": {"x": 1}}, "it is for one column of masks"),
        ({"labels": {"x": 1}}, "it is for one column of masks"),
        ({"mask": ("a", "a")}, "a column is named twice"),
        ({"mask": "m", "labels": {"x": 1}, "task": "multiclass"}, "it is for a segmentation"),
        ({"mask": "m", "labels": {"x": 1}, "label": "y"}, "dataset.label names others"),
        ({"task": "segmentation"}, "name the column of masks"),
        ({"mask": "m", "labels": {"x": ()}}, "'x' has no value"),
        ({"mask": "m", "labels": {"x": 1}, "classes": {"a": "1"}}, "has no classes"),
    ],
)
def test_parameters_that_do_not_go_together(
    folder: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        table(folder, "image,mask\n", **parameters)


# Folders


def test_pairs_in_two_folders(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / "p1" / f"{number}.png", seed=number)
        picture(tmp_path / "masks" / "p1" / f"{number}_mask.png", square(at=number))
    data = ImageMasks(
        root=tmp_path, mask_suffix="_mask", labels={"nuclei": 255}, group_pattern=r"(p\d+)/"
    ).build()
    assert [(s.id, s.group) for s in data.samples] == [(f"p1/{n}.png", "p1") for n in range(3)]
    assert np.array_equal(mask_of(data.samples[2]), square(1, 2))


def test_pairs_in_one_folder(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a_seg.png", square())
    data = ImageMasks(
        root=tmp_path, images=".", masks=".", mask_suffix="_seg", labels={"nuclei": 255}
    ).build()
    assert [sample.id for sample in data.samples] == ["a.png"]


def test_what_stands_alone_is_named(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png")
    for name in "ac":
        picture(tmp_path / "masks" / f"{name}.png", square())
    step = ImageMasks(root=tmp_path, labels={"nuclei": 255})
    with pytest.raises(DataError) as caught:
        step.build()
    assert str(caught.value) == (
        f"The image {tmp_path}/images/b.png has no mask: there is no {tmp_path}/masks/b with a "
        'suffix. Add it, or set dataset.without_mask = "drop".\n'
        f"The mask {tmp_path}/masks/c.png has no image in {tmp_path}/images."
    )
    assert [fault.sample for fault in step.build_with_faults().faults] == ["b.png", "c"]


def test_values_that_do_not_go_together(tmp_path: Path) -> None:
    for labels, ignore, message in (
        ({"a": 0}, (), "gives the value 0 to 'a' and to the background"),
        ({"a": 1}, (1,), "The value 1 is in dataset.labels and in dataset.ignore"),
    ):
        with pytest.raises(DataError, match=message):
            ImageMasks(root=tmp_path, labels=labels, ignore=ignore).build()


# The decathlon's layout


def volume(path: Path, values: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


@pytest.fixture
def decathlon(tmp_path: Path) -> Path:
    pairs = []
    for number in range(4):
        name = f"case_{number}.nii.gz"
        mask = np.zeros((5, 6, 4), np.uint8)
        mask[1:3, 1:4, 1] = 1
        mask[3, 1:4, 2] = 2
        noise = np.random.default_rng(number).normal(size=(5, 6, 4)).astype(np.float32)
        volume(tmp_path / "imagesTr" / name, noise)
        volume(tmp_path / "labelsTr" / name, mask)
        pairs.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    about = {"labels": {"0": "background", "1": "liver", "2": "cancer"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return tmp_path


def test_the_decathlon_layout(decathlon: Path) -> None:
    data = Decathlon(root=decathlon).build()
    assert data.task.names == ("liver", "cancer")
    assert [sample.id for sample in data.samples] == [
        f"imagesTr/case_{number}.nii.gz" for number in range(4)
    ]
    assert sorted(np.unique(mask_of(data.samples[0]))) == [0, 1, 2]
    assert "intervals are by volume" in data.notes[0]


def test_the_decathlon_with_other_labels_folds_and_groups(decathlon: Path) -> None:
    (decathlon / "folds.csv").write_text(
        "image,fold\n" + "".join(f"imagesTr/case_{n}.nii.gz,{n % 2}\n" for n in range(4))
    )
    data = Decathlon(
        root=decathlon,
        labels={"organ": (1, 2), "cancer": 2},
        folds="folds.csv",
        test_fold=1,
        group_pattern=r"case_(\d)",
    ).build()
    assert data.task.names == ("organ", "cancer")
    assert data.task.step.label_form == "masks"
    assert [(s.group, s.split) for s in data.samples] == [
        ("0", None),
        ("1", "test"),
        ("2", None),
        ("3", "test"),
    ]


def test_what_the_decathlon_lists_and_is_not_there(decathlon: Path) -> None:
    (decathlon / "labelsTr" / "case_2.nii.gz").unlink()
    step = Decathlon(root=decathlon)
    with pytest.raises(DataError) as caught:
        step.build()
    missing = decathlon / "labelsTr" / "case_2.nii.gz"
    assert str(caught.value) == f"{missing}, which dataset.json lists, is not there."
    assert len(step.build_with_faults().samples) == 3


# Drawn images


@pytest.mark.parametrize("dims", [2, 3])
def test_drawn_images(dims: int) -> None:
    step = PhantomMasks(samples=16, size=24, dims=dims)
    data, again = step.build(), step.build()
    assert data.task.names == ("organ", "lesion")
    assert len({sample.group for sample in data.samples}) == 8
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert all(organ for organ, _ in scan.counts.values())
    assert sum(lesion == 0 for _, lesion in scan.counts.values()) == 2
    for one, other in zip(data.samples, again.samples, strict=True):
        image = read_sample_image(one.image, data.reading).values
        assert image.shape == (24,) * dims
        assert np.array_equal(image, read_sample_image(other.image, data.reading).values)


# Real data


def real(name: str) -> Path:
    folder = Path(os.environ["MEDPIPE_DATA"]) / name
    if not folder.is_dir():
        pytest.skip(f"needs MEDPIPE_DATA to name a folder with {name} unpacked")
    return folder


@pytest.mark.real_data
def test_hippocampus() -> None:
    data = Decathlon(root=real("Task04_Hippocampus"), folds="folds.csv").build()
    assert data.task.names == ("Anterior", "Posterior")
    assert len(data.samples) == 260
    scan, faults = scan_labels(data, workers=2)
    assert faults == []
    assert all(min(counts) > 0 for counts in scan.counts.values())


@pytest.mark.real_data
def test_nuclei() -> None:
    data = ImageMasks(root=real("nuclei"), labels={"nuclei": 255}).build()
    assert len(data.samples) == 664
    scan, faults = scan_labels(data, workers=2)
    assert faults == []
    assert len(scan.counts) == 664
