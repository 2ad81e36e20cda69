"""The task `segmentation`: its labels, outputs, and what predictions keep and write."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medpipe.errors import DataError, RunError
from medpipe.evaluation.predictions import Predictions, read_predictions, write_predictions
from medpipe.plugin import LabelImage, Segmentation, Task

NAMES = ("liver", "tumour")
ALONE, TOGETHER = Segmentation(), Segmentation(overlapping=True)
IMAGE = np.zeros((4, 4), dtype=np.uint8)


def test_the_form_of_a_label_is_that_of_its_structures() -> None:
    assert (ALONE.label_form, ALONE.outputs(NAMES)) == ("mask", 3)
    assert (TOGETHER.label_form, TOGETHER.outputs(NAMES)) == ("masks", 2)
    assert str(Task(kind="segmentation", names=NAMES)) == "segmentation (liver, tumour)"


def test_names_and_tolerances_must_fit() -> None:
    assert ALONE.names_problem(NAMES) is None
    assert "There is no structure" in str(ALONE.names_problem(()))
    many = tuple(f"s{place}" for place in range(255))
    assert ALONE.names_problem(many[:254]) is None
    assert "at most 254" in str(ALONE.names_problem(many))
    for tolerances, fits in (((1.0,), True), ((1.0, 2.0), True), ((1.0, 2.0, 3.0), False)):
        problem = Segmentation(tolerances=tolerances).names_problem(NAMES)
        assert (problem is None) == fits
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be above 0 each"):
            Segmentation(tolerances=(1.0, wrong))
    assert Segmentation(tolerances=(2.0,)).limits(NAMES) == (2.0, 2.0)
    assert Segmentation().limits(NAMES) == (1.0, 1.0)


def test_a_label_is_an_image_with_the_channels_of_the_task() -> None:
    assert ALONE.label_problem(LabelImage(image=IMAGE), NAMES) is None
    assert TOGETHER.label_problem(LabelImage(image=IMAGE, channels=2), NAMES) is None
    files = LabelImage(image=(Path("l.png"), None), channels=2)
    assert TOGETHER.label_problem(files, NAMES) is None
    for task, label, said in (
        (ALONE, 1, "which is no image"),
        (ALONE, LabelImage(image=IMAGE, channels=2), "its channels are 2, but must be None"),
        (TOGETHER, LabelImage(image=IMAGE), "its channels are None, but must be 2"),
        (TOGETHER, LabelImage(image=(Path("l.png"),), channels=2), "it has 1 files"),
    ):
        assert said in str(task.label_problem(label, NAMES))
    assert ALONE.label_text(files, NAMES) == "2 masks"
    assert ALONE.label_text(LabelImage(image=IMAGE), NAMES) == "a mask"


def test_labels_become_bytes() -> None:
    labels = [torch.full((1, 3, 4), value) for value in (2, 255)]
    batch = ALONE.encode(labels, NAMES)
    assert (batch.dtype, batch.shape) == (torch.uint8, (2, 1, 3, 4))
    assert batch[:, 0, 0, 0].tolist() == [2, 255]
    with pytest.raises(DataError, match=r"\(1, 3, 4\), \(1, 3, 5\), but one shape with 1 channels"):
        ALONE.encode([torch.zeros(1, 3, 4), torch.zeros(1, 3, 5)], NAMES)
    with pytest.raises(DataError, match="one shape with 2 channels"):
        TOGETHER.encode(labels, NAMES)


def test_outputs_become_labels() -> None:
    outputs = torch.tensor([[3.0, 0.0, 1.0], [1.0, 0.0, 2.0], [2.0, -1.0, 3.0]])[None]
    assert ALONE.decided(outputs).tolist() == [[[0, 0, 2]]]  # of equals the first: background
    decided = TOGETHER.decided(outputs[:, :2])
    assert decided.tolist() == [[[1, 0, 1], [1, 0, 1]]]  # 0 is one half, and not above it
    assert decided.dtype == torch.uint8
    for wrong in (math.nan, math.inf, -math.inf):
        outputs[0, 1, 1] = wrong
        with pytest.raises(DataError, match="output is not finite"):
            ALONE.decided(outputs)
    assert ALONE.to_scores(torch.zeros(1, 3, 2)).sum(dim=1).tolist() == [[1, 1]]
    assert TOGETHER.to_scores(torch.zeros(1, 2, 2)).unique().tolist() == [0.5]


@given(
    outputs=arrays(np.float32, (2, 4, 3, 2, 5), elements=st.sampled_from([-1.5, 0.0, 0.5, 2.0])),
    last=st.booleans(),
    precision=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_the_first_of_the_likeliest_is_taken_in_any_layout(
    outputs: Any, last: bool, precision: torch.dtype
) -> None:
    found = torch.as_tensor(outputs).to(precision)
    if last:
        found = found.contiguous(memory_format=torch.channels_last_3d)
    assert np.array_equal(ALONE.decided(found), outputs.argmax(axis=1, keepdims=True))


def test_labels_of_other_names_are_told_by_these() -> None:
    label = LabelImage(image=IMAGE)
    assert ALONE.relabelled(label, NAMES, NAMES) is label
    found = ALONE.relabelled(label, ("tumour", "liver"), NAMES)
    assert found.values == ((0.0, ()), (1.0, (1,)), (2.0, (0,)))
    given = LabelImage(image=IMAGE, values=((7, (0, 1)), (9, (1,))), channels=2)
    found = TOGETHER.relabelled(given, ("b", "a"), ("a", "b", "c"))
    assert (found.values, found.channels) == (((7, (1, 0)), (9, (0,))), 3)
    files = LabelImage(image=(Path("b"), Path("a")), channels=2)
    found = TOGETHER.relabelled(files, ("b", "a"), ("a", "c", "b"))
    assert (found.image, found.channels) == ((Path("a"), None, Path("b")), 3)


def kept(**changes: Any) -> Predictions:
    nan = math.nan
    given: dict[str, Any] = {
        "task": Task(kind=ALONE, names=NAMES),
        "ids": ("b", "a"),
        "scores": [[0.5, 0.25, 3.5, 10.0, nan, nan, nan, 0.0], [1, 1, 0, 2, 0, 0, nan, 0]],
        "labels": [[11.0, 0.0], [nan, 0.1]],
        "groups": ("p", None),
    }
    return Predictions(**(given | changes))


def test_predictions_are_read_back_with_what_is_undefined(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_predictions(path, kept())
    first, row, other = path.read_text().splitlines()
    assert first == (
        "id,group,dice_liver,nsd_liver,hd95_liver,volume_liver,reference_volume_liver,"
        "dice_tumour,nsd_tumour,hd95_tumour,volume_tumour,reference_volume_tumour"
    )
    assert row == "a,,1.0,1.0,0.0,2.0,,0.0,0.0,,0.0,0.1"
    assert other == "b,p,0.5,0.25,3.5,10.0,11.0,,,,0.0,0.0"
    read = read_predictions(path, kept().task)
    ordered = kept().sorted_by_id()
    assert read.ids == ordered.ids
    assert np.array_equal(read.scores, ordered.scores, equal_nan=True)
    assert np.array_equal(read.labels, ordered.labels, equal_nan=True)
    path.write_text(path.read_text().replace("3.5", "far"))
    with pytest.raises(RunError, match="row 3: hd95_liver 'far' is not a number"):
        read_predictions(path, kept().task)


def test_units_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    some = kept(units=("mm", "voxels"), extra={"site": ("x", "y")})
    write_predictions(path, some)
    first, row, _ = path.read_text().splitlines()
    assert first.startswith("id,group,keep:site,unit,dice_liver,")
    assert row.startswith("a,,y,voxels,1.0,")
    read = read_predictions(path, some.task)
    assert (read.units, read.unit) == (("voxels", "mm"), "mm or voxels")
    assert read.extra == {"site": ("y", "x")}
    assert read.taken([1]).units == ("mm",)
    with pytest.raises(DataError, match="1 units for 2 samples"):
        kept(units=("mm",))


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 1.5), (1, -0.1), (2, -1.0), (3, -1.0), (3, math.nan), (4, math.inf)],
)
def test_scores_that_can_not_be_are_refused(column: int, value: float) -> None:
    scores = kept().scores.copy()
    scores[0, column] = value
    with pytest.raises(DataError, match="sample 'b'"):
        kept(scores=scores)


@pytest.mark.parametrize("value", [-1.0, math.inf])
def test_volumes_that_can_not_be_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="label of the sample 'b' is not a volume of 0 or more"):
        kept(labels=[[value, 0.0], [0.0, 0.0]])


def test_the_shape_of_what_is_kept_is_checked() -> None:
    with pytest.raises(DataError, match=r"2 samples of a segmentation task with 2 outputs need"):
        kept(scores=np.zeros((2, 2)))


def test_files_without_labels_have_volumes() -> None:
    mask = np.array([[[0, 1, 1], [2, 0, 0]]], dtype=np.uint8)
    assert ALONE.answer_scores(mask, NAMES, spacing=(0.5, 2.0)).tolist() == [2.0, 1.0]
    channels = np.concatenate([mask == 1, mask >= 1]).astype(np.uint8)
    assert TOGETHER.answer_scores(channels, NAMES, spacing=None).tolist() == [2.0, 3.0]
    assert ALONE.columns(NAMES, labels=False) == ["volume_liver", "volume_tumour"]
    assert ALONE.row(None, None, [2.0, 1.0], NAMES) == ["2.0", "1.0"]


def test_all_samples_are_of_one_stratum() -> None:
    assert len(set(ALONE.strata([None] * 3, NAMES, 3))) == 1
