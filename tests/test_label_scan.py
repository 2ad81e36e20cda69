"""The scan of masks: what is wrong with them is found before training, and nothing twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medpipe.data.preparation import prepare
from medpipe.data.scanning import label_scan
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.errors import BadDataError
from medpipe.plugin import Dataset, LabelImage, Sample, Segmentation, Task
from medpipe.settings import SplitSettings

SIDES = (12, 10, 8)


def volume(number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    mask = np.zeros(SIDES, np.uint8)
    mask[2:6, 3 : 5 + number % 3, 2 + number % 4] = 1
    mask[7:9, 2 + number % 5, 4:7] = 2
    noise = np.random.default_rng(number).normal(size=SIDES)
    return (noise + 2 * mask).astype(np.float32), mask


def write(path: Path, values: np.ndarray[Any, Any], affine: Any = None) -> str:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return str(path)


def dataset(folder: Path, count: int = 12) -> Dataset:
    samples = []
    for number in range(count):
        image, mask = volume(number)
        label = LabelImage(image=write(folder / f"{number:02d}_mask.nii.gz", mask))
        path = write(folder / f"{number:02d}.nii.gz", image)
        samples.append(Sample(id=f"{number:02d}", image=path, label=label))
    return Dataset(samples=samples, task=Task(kind=Segmentation(), names=("organ", "lesion")))


def test_voxels_of_each_structure_are_counted(tmp_path: Path) -> None:
    scan, faults = scan_labels(dataset(tmp_path, 3), workers=2)
    assert faults == []
    assert scan.notes == ()
    for number in range(3):
        _, mask = volume(number)
        assert scan.counts[f"{number:02d}"] == ((mask == 1).sum(), (mask == 2).sum())
    assert len(set(scan.sha256.values())) == 3


def test_all_faults_of_masks_are_found_at_once(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    _, mask = volume(0)
    shifted, flipped = np.eye(4), np.diag([-1.0, 1, 1, 1])
    shifted[0, 3], flipped[0, 3] = 5, SIDES[0] - 1
    write(tmp_path / "00_mask.nii.gz", mask, shifted)
    write(tmp_path / "01_mask.nii.gz", mask[::-1], flipped)
    write(tmp_path / "02_mask.nii.gz", mask[:-1])
    write(tmp_path / "03_mask.nii.gz", mask * 2)
    write(tmp_path / "04_mask.nii.gz", mask * np.float32(0.5))
    (tmp_path / "05_mask.nii.gz").write_bytes(b"")
    with pytest.raises(BadDataError) as caught:
        prepare(data, SplitSettings(), workers=1)
    by_sample = {fault.sample: fault for fault in caught.value.faults}
    assert sorted(by_sample) == ["00", "01", "02", "03", "04", "05"]
    assert {fault.kind for fault in by_sample.values()} == {"label"}
    assert all(fault.path.endswith(f"{id_}_mask.nii.gz") for id_, fault in by_sample.items())
    assert "lies up to 5.0 voxels from its image" in by_sample["00"].message
    assert "lies up to 11.0 voxels from its image" in by_sample["01"].message
    assert "10 x 11 x 8 pixels" in by_sample["02"].message
    assert "has the value 4, which no label names" in by_sample["03"].message
    assert "holds fractions, such as 0.5" in by_sample["04"].message
    assert "05_mask.nii.gz is empty" in by_sample["05"].message


def test_faults_can_be_left_out(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    write(tmp_path / "03_mask.nii.gz", volume(3)[1][:-1])
    prepared = prepare(data, SplitSettings(), workers=1, bad_data="quarantine")
    assert [fault.sample for fault in prepared.quarantine] == ["03"]
    assert prepared.labels is not None
    assert sorted(prepared.labels.sha256) == [s.id for s in prepared.dataset.samples]
    assert "03" not in prepared.labels.sha256


def test_another_mask_gives_another_digest(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    before = prepare(data, SplitSettings(), workers=1).digest
    assert prepare(data, SplitSettings(), workers=1).digest == before
    _, mask = volume(4)
    mask[0, 0, 0] = 1
    write(tmp_path / "04_mask.nii.gz", mask)
    assert prepare(data, SplitSettings(), workers=1).digest != before


def test_masks_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path, 4)
    first, _ = scan_labels(data, workers=1)
    read: list[str] = []
    real = label_scan._read
    monkeypatch.setattr(label_scan, "_read", lambda s, d: (read.append(s.id), real(s, d))[1])
    again, _ = scan_labels(data, workers=1)
    assert read == []
    assert (again.sha256, again.counts) == (first.sha256, first.counts)
    os.utime(tmp_path / "02_mask.nii.gz", ns=(1, 1))
    scan_labels(data, workers=1)
    assert read == ["02"]
    write(tmp_path / "01_mask.nii.gz", volume(1)[1][:-1])
    for _ in range(2):  # what is wrong is not remembered as right
        _, faults = scan_labels(data, workers=1)
        assert [fault.sample for fault in faults] == ["01"]


def test_another_meaning_of_values_is_looked_at_again(tmp_path: Path) -> None:
    data = dataset(tmp_path, 2)
    scan_labels(data, workers=1)
    swapped = [
        Sample(
            id=sample.id,
            image=sample.image,
            label=LabelImage(image=sample.label.image, values=((0, ()), (1, (1,)), (2, (0,)))),
        )
        for sample in data.samples
        if isinstance(sample.label, LabelImage)
    ]
    scan, _ = scan_labels(Dataset(samples=swapped, task=data.task), workers=1)
    _, mask = volume(0)
    assert scan.counts["00"] == ((mask == 2).sum(), (mask == 1).sum())


def test_what_may_be_wrong_is_said(tmp_path: Path) -> None:
    masks = [np.zeros((6, 6), np.uint8) for _ in range(5)]
    masks[1][:] = 1
    masks[2][1:4, 1:4] = masks[3][1:4, 1:4] = 1
    masks[4][2, 2] = 1
    samples = []
    for number, mask in enumerate(masks):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (6, 6), np.uint8)).save(path)
        samples.append(Sample(id=f"{number}", image=str(path), label=LabelImage(image=mask)))
    task = Task(kind=Segmentation(), names=("organ", "lesion"))
    scan, faults = scan_labels(Dataset(samples=samples, task=task), workers=1)
    assert faults == []
    assert scan.notes == (
        "1 mask is empty ('0'), which is taken for an image without any of the structures. Leave "
        "out what is not annotated.",
        "1 mask is of one structure everywhere, without any background ('1'). Look whether the "
        "values of dataset.labels are right.",
        "The structure 'lesion' is in no mask.",
        "The masks of '2' and '3' are equal, though their images differ.",
    )
