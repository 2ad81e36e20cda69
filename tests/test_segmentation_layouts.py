"""The layouts of nnU-Net and of BIDS, on files that are written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medpipe.builtin.datasets.bids import Bids
from medpipe.builtin.datasets.nnunet import NnUNet
from medpipe.data.readers.reader import read_sample_image
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import DataError

SIDES = (5, 6, 4)


def volume(path: Path, values: np.ndarray[Any, Any] | None = None, *, seed: int = 0) -> None:
    if values is None:
        values = np.random.default_rng(seed).normal(size=SIDES).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def mask(*values: int) -> np.ndarray[Any, Any]:
    found = np.zeros(SIDES, np.uint8)
    for place, value in enumerate(values):
        found[1 + place, 1:4, 1:3] = value
    return found


# nnU-Net


VERSION_2 = {
    "channel_names": {"0": "T2", "1": "ADC"},
    "labels": {"background": 0, "zone": 1, "rest": 2, "ignore": 3},
    "file_ending": ".nii.gz",
}
VERSION_1 = {
    "modality": {"0": "T2", "1": "ADC"},
    "labels": {"0": "background", "1": "zone", "2": "rest"},
    "training": [],
}


def raw(folder: Path, about: dict[str, Any], *values: int, count: int = 4) -> Path:
    for number in range(count):
        for channel in range(2):
            name = f"p{number // 2}_{number}_{channel:04d}.nii.gz"
            volume(folder / "imagesTr" / name, seed=10 * number + channel)
        volume(folder / "labelsTr" / f"p{number // 2}_{number}.nii.gz", mask(*values))
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


@pytest.mark.parametrize("about", [VERSION_1, VERSION_2])
def test_both_versions_of_nnunet(tmp_path: Path, about: dict[str, Any]) -> None:
    data = NnUNet(root=raw(tmp_path, about, 1, 2), group_pattern=r"(p\d+)_").build()
    assert data.task.names == ("zone", "rest")
    assert [(s.id, s.group) for s in data.samples] == [
        ("p0_0", "p0"),
        ("p0_1", "p0"),
        ("p1_2", "p1"),
        ("p1_3", "p1"),
    ]
    assert read_sample_image(data.samples[0].image, data.reading).values.shape == (6, 5, 4, 2)
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert set(scan.counts.values()) == {(6, 6)}


def test_what_version_2_calls_ignore_counts_nowhere(tmp_path: Path) -> None:
    data = NnUNet(root=raw(tmp_path, VERSION_2, 1, 3)).build()
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert set(scan.counts.values()) == {(6, 0)}
    assert "intervals are by case" in data.notes[0]


def test_regions_of_version_2_overlap(tmp_path: Path) -> None:
    about = {**VERSION_2, "labels": {"background": 0, "whole": [1, 2], "core": 2}}
    data = NnUNet(root=raw(tmp_path, about, 1, 2)).build()
    assert data.task.step.label_form == "masks"
    scan, _ = scan_labels(data, workers=1)
    assert set(scan.counts.values()) == {(12, 6)}


def test_published_folds_of_nnunet(tmp_path: Path) -> None:
    raw(tmp_path, VERSION_2, 1, 2)
    folds = [{"train": ["p1_2", "p1_3"], "val": ["p0_0", "p0_1"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8")
    step = NnUNet(root=tmp_path, folds=Path("splits_final.json"))
    assert [sample.split for sample in step.build().samples] == ["test", "test", None, None]
    with pytest.raises(DataError, match=r"test_fold is 1, but .* has 1 folds"):
        NnUNet(root=tmp_path, folds=Path("splits_final.json"), test_fold=1).build()


def test_cases_that_are_not_whole_are_named(tmp_path: Path) -> None:
    raw(tmp_path, VERSION_2, 1, 2)
    (tmp_path / "imagesTr" / "p0_1_0001.nii.gz").unlink()
    (tmp_path / "labelsTr" / "p1_2.nii.gz").unlink()
    step = NnUNet(root=tmp_path)
    with pytest.raises(DataError) as caught:
        step.build()
    assert str(caught.value) == (
        f"The case 'p0_1' is not whole: there is no {tmp_path}/imagesTr/p0_1_0001.nii.gz.\n"
        f"The case 'p1_2' is not whole: there is no {tmp_path}/labelsTr/p1_2.nii.gz."
    )
    assert [sample.id for sample in step.build_with_faults().samples] == ["p0_0", "p1_3"]


def test_a_folder_that_is_not_of_nnunet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The step nnunet takes a folder in the raw layout"):
        NnUNet(root=tmp_path).build()
    (tmp_path / "dataset.json").write_text('{"labels": {"a": 1}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"There is no folder .*imagesTr"):
        NnUNet(root=tmp_path).build()
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="does not number its channels"):
        NnUNet(root=tmp_path).build()
    (tmp_path / "dataset.json").write_text(json.dumps(VERSION_2), encoding="utf-8")
    with pytest.raises(DataError, match=r"holds no image whose name ends in _0000.nii.gz"):
        NnUNet(root=tmp_path).build()


def test_the_colours_of_a_picture_are_one_file(tmp_path: Path) -> None:
    about = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "road": 1},
        "file_ending": ".png",
    }
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    colours = np.random.default_rng(0).integers(0, 255, (6, 7, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "imagesTr" / "a_0000.png")
    Image.fromarray((colours[..., 0] > 99).astype(np.uint8)).save(tmp_path / "labelsTr" / "a.png")
    (tmp_path / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    data = NnUNet(root=tmp_path).build()
    assert read_sample_image(data.samples[0].image, data.reading).values.shape == (6, 7, 3)


# BIDS


def bids(folder: Path, name: str = "dseg", *values: int) -> Path:
    for number, visit in enumerate(("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1")):
        below = f"{visit.replace('_', '/')}/anat"
        for channel, ending in enumerate(("T1w", "FLAIR")):
            volume(folder / below / f"{visit}_{ending}.nii.gz", seed=10 * number + channel)
        volume(folder / "derivatives/manual" / below / f"{visit}_{name}.nii.gz", mask(*values))
    table = "index\tname\n0\tnothing\n4\tgrey\n7\twhite\n"
    (folder / "derivatives/manual/dseg.tsv").write_text(table, encoding="utf-8")
    return folder


def test_bids_with_a_table_of_values(tmp_path: Path) -> None:
    data = Bids(root=bids(tmp_path, "dseg", 4, 7)).build()
    assert data.task.names == ("grey", "white")
    assert [(s.id, s.group) for s in data.samples] == [
        ("sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "01"),
        ("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "01"),
        ("sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", "02"),
    ]
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert set(scan.counts.values()) == {(6, 6)}


def test_bids_with_channels_and_masks_of_one_structure(tmp_path: Path) -> None:
    bids(tmp_path, "space-T1w_label-lesion_mask", 1)
    data = Bids(
        root=tmp_path,
        derivative="derivatives/manual",
        image=("T1w", "FLAIR"),
        mask="mask",
        entities={"label": "lesion"},
    ).build()
    assert data.task.names == ("lesion",)
    assert read_sample_image(data.samples[0].image, data.reading).values.shape == (6, 5, 4, 2)
    scan, faults = scan_labels(data, workers=1)
    assert faults == []
    assert set(scan.counts.values()) == {(6,)}


def test_of_several_masks_entities_choose(tmp_path: Path) -> None:
    bids(tmp_path, "desc-one_mask", 1)
    bids(tmp_path, "desc-two_mask", 1)
    with pytest.raises(DataError) as caught:
        Bids(root=tmp_path, mask="mask").build()
    assert (
        "sub-02_ses-1_T1w.nii.gz has 2 masks: 'sub-02_ses-1_desc-one_mask.nii.gz', "
        "'sub-02_ses-1_desc-two_mask.nii.gz'. Say which with dataset.entities"
    ) in str(caught.value)
    assert len(Bids(root=tmp_path, mask="mask", entities={"desc": "two"}).build().samples) == 3


def test_a_mask_belongs_to_the_image_that_it_names_best(tmp_path: Path) -> None:
    for name in ("sub-01", "sub-01_acq-fine"):
        volume(tmp_path / "sub-01/anat" / f"{name}_T1w.nii.gz")
        volume(tmp_path / "derivatives/sub-01" / f"{name}_dseg.nii.gz", mask(1))
    data = Bids(root=tmp_path, labels={"brain": 1}).build()
    assert len(data.samples) == 2


def test_what_stands_alone_in_bids_is_named(tmp_path: Path) -> None:
    bids(tmp_path, "dseg", 4, 7)
    manual = tmp_path / "derivatives/manual"
    (manual / "sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz").unlink()
    image = tmp_path / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    image.unlink()
    step = Bids(root=tmp_path, derivative="derivatives/manual")
    with pytest.raises(DataError) as caught:
        step.build()
    lonely = tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"
    assert str(caught.value) == (
        f"The image {lonely} has no mask in {manual} whose name ends in dseg and has "
        'sub-01_ses-2. Add it, or set dataset.without_mask = "drop".\n'
        f"The mask {manual}/sub-02/ses-1/anat/sub-02_ses-1_dseg.nii.gz has no image in {tmp_path}."
    )
    both = Bids(root=tmp_path, image=("T1w", "FLAIR"), without_mask="drop").build_with_faults()
    assert [sample.id for sample in both.samples] == ["sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"]
    assert "1 image without a mask left out" in both.notes[0]
    assert "has none of the same name with 'T1w'" in both.faults[0].message


def test_a_folder_that_is_not_of_bids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*derivatives"):
        Bids(root=tmp_path).build()
    (tmp_path / "derivatives").mkdir()
    with pytest.raises(DataError, match=r"There is no table \*dseg\.tsv in"):
        Bids(root=tmp_path).build()
    with pytest.raises(DataError, match=r"No image 'T1w' in .* has a mask 'mask'"):
        Bids(root=tmp_path, mask="mask").build()
