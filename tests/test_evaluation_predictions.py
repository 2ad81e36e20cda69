from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.errors import DataError, RunError
from medpipe.evaluation.predictions import (
    Predictions,
    read_predictions,
    to_scores,
    write_predictions,
)
from medpipe.steps import Task
from support.examples import examples

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = Task(names=("hand", "head"))
FINDINGS = Task(kind="multilabel", names=("cyst", "mass"))
AGE = Task(kind="regression", names=("age",), unit="years")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
probabilities = st.floats(0, 1)
values = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def some_predictions(draw: st.DrawFn) -> Predictions:
    kind: str = draw(st.sampled_from(["multiclass", "multilabel", "regression"]))
    names = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    ids = draw(st.lists(texts, max_size=6, unique=True))
    label: Any = {
        "multiclass": st.integers(0, len(names) - 1),
        "multilabel": st.sampled_from([0.0, 1.0, math.nan]),
        "regression": st.one_of(values, st.just(math.nan)),
    }[kind]
    shape = (len(ids), len(names))
    score = values if kind == "regression" else probabilities
    count = len(ids) if kind == "multiclass" else len(ids) * len(names)
    labels = np.array(draw(st.lists(label, min_size=count, max_size=count)))
    cells = math.prod(shape)
    return Predictions(
        task=Task(kind=kind, names=names),
        ids=tuple(ids),
        scores=np.array(draw(st.lists(score, min_size=cells, max_size=cells))).reshape(shape),
        labels=labels if kind == "multiclass" else labels.reshape(shape),
        groups=tuple(draw(st.one_of(st.none(), texts)) for _ in ids),
        extra={
            column: [draw(st.one_of(st.just(""), texts)) for _ in ids]
            for column in draw(st.lists(texts, max_size=2, unique=True))
        },
    )


def make(task: Task = CLASSES, **changes: Any) -> Predictions:
    fields: dict[str, Any] = {
        "ids": ("b", "a"),
        "scores": [[0.25, 0.75]] * 2,
        "labels": [0, 1],
        "groups": ("p1", None),
    }
    return Predictions(task=task, **{**fields, **changes})


@settings(max_examples=examples(150), deadline=None)
@given(predictions=some_predictions())
def test_a_csv_file_gives_the_same_predictions_back_in_the_order_of_ids(
    tmp_path_factory: pytest.TempPathFactory, predictions: Predictions
) -> None:
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    write_predictions(path, predictions)
    back, expected = read_predictions(path, predictions.task), predictions.sorted_by_id()
    assert (back.ids, back.groups) == (expected.ids, expected.groups)
    assert back.extra == expected.extra
    assert list(back.extra) == list(predictions.extra)
    assert back.ids == tuple(sorted(predictions.ids))
    for ours, theirs in ((back.scores, expected.scores), (back.labels, expected.labels)):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_the_csv_of_classes_names_them(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, make())
    assert path.read_text() == (
        "id,group,label,prediction,p(hand),p(head)\n"
        "a,,head,head,0.25,0.75\n"
        "b,p1,hand,head,0.25,0.75\n"
    )


def test_the_csv_of_findings_leaves_missing_labels_blank(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, make(FINDINGS, labels=[[1, 0], [math.nan, 1]]))
    assert path.read_text() == (
        "id,group,label_cyst,prediction_cyst,label_mass,prediction_mass,p(cyst),p(mass)\n"
        "a,,,0,1,1,0.25,0.75\n"
        "b,p1,1,0,0,1,0.25,0.75\n"
    )


def test_kept_columns_stand_after_the_group(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, make(extra={"site": ("north", ""), "p(hand)": ("1", "2")}))
    assert path.read_text() == (
        "id,group,keep:site,keep:p(hand),label,prediction,p(hand),p(head)\n"
        "a,,,2,head,head,0.25,0.75\n"
        "b,p1,north,1,hand,head,0.25,0.75\n"
    )
    assert read_predictions(path, CLASSES).extra == {"site": ("", "north"), "p(hand)": ("2", "1")}


def test_samples_are_taken_with_all_that_belongs_to_them() -> None:
    some = make(extra={"site": ("north", "south")}).taken([1])
    assert (some.ids, some.groups, some.labels.tolist()) == (("a",), (None,), [1])
    assert some.extra == {"site": ("south",)}
    assert len(make().taken([])) == 0


def test_the_csv_of_a_regression_has_no_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, make(AGE, scores=[[50.5], [0.1]], labels=[[51], [math.nan]]))
    assert path.read_text() == ("id,group,label_age,prediction_age\na,,,0.1\nb,p1,51.0,50.5\n")


def test_what_is_predicted() -> None:
    tie = make(scores=[[0.5, 0.5], [0.1, 0.9]])
    assert tie.predicted.tolist() == [0, 1]
    findings = make(FINDINGS, scores=[[0.5, 0.49], [0, 1]], labels=[[0, 0], [0, 0]])
    assert findings.predicted.tolist() == [[True, False], [False, True]]
    ages = make(AGE, scores=[[1.5], [2]], labels=[[1], [2]])
    assert ages.predicted.tolist() == [[1.5], [2.0]]


def test_arrays_have_the_promised_types() -> None:
    assert make(labels=np.array([0, 1], dtype=np.int8)).labels.dtype == np.int64
    findings = make(FINDINGS, labels=[[0, 1], [1, 0]], scores=np.zeros((2, 2), np.float32))
    assert findings.labels.dtype == findings.scores.dtype == np.float64


def test_a_blank_group_is_none() -> None:
    assert make(groups=("", "p1")).groups == (None, "p1")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (CLASSES, torch.softmax(torch.tensor([[1.0, -2.0]], dtype=torch.float64), dim=1)),
        (FINDINGS, torch.sigmoid(torch.tensor([[1.0, -2.0]], dtype=torch.float64))),
        (Task(kind="regression", names=("x", "y")), torch.tensor([[1.0, -2.0]]).double()),
    ],
)
def test_outputs_become_scores(task: Task, expected: torch.Tensor) -> None:
    logits = torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16, requires_grad=True)
    scores = to_scores(logits, task)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, expected.numpy())


def test_confident_scores_stay_apart() -> None:
    scores = to_scores(torch.tensor([[20.0, 0.0], [21.0, 0.0]]), CLASSES)
    assert scores[0, 0] < scores[1, 0] < 1


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            CLASSES,
            {"scores": [[0.5, 0.5]]},
            "The scores have the shape (1, 2), but 2 samples of a multiclass task with 2 outputs "
            "need (2, 2).",
        ),
        (
            CLASSES,
            {"labels": [[0], [1]]},
            "The labels have the shape (2, 1), but 2 samples of a multiclass task with 2 outputs "
            "need (2,).",
        ),
        (
            FINDINGS,
            {},
            "The labels have the shape (2,), but 2 samples of a multilabel task with 2 outputs "
            "need (2, 2).",
        ),
        (CLASSES, {"groups": ("p1",)}, "There are 1 groups for 2 samples."),
        (
            CLASSES,
            {"extra": {"site": ("north",)}},
            "The kept column 'site' has 1 values for 2 samples.",
        ),
        (CLASSES, {"ids": ("a", "a")}, "There are two predictions for the sample 'a'."),
        (
            CLASSES,
            {"scores": [[0.5, 0.5], [math.nan, 0.5]]},
            "The network's output for the sample 'a' is not finite. Look for missing values in its "
            "image, and lower trainer.learning_rate if there are none.",
        ),
        (
            CLASSES,
            {"scores": [[0.5, 0.5], [-1, 2]]},
            "The scores of the sample 'a' are not probabilities: they must be from 0 to 1. Use "
            "to_scores on the network's outputs.",
        ),
        (
            CLASSES,
            {"scores": [[0.5, 0.5], [-1, 1]]},
            "The scores of the sample 'a' are not probabilities: they must be from 0 to 1. Use "
            "to_scores on the network's outputs.",
        ),
        (CLASSES, {"labels": [2, 0]}, "The label of the sample 'b' is not a class from 0 to 1."),
        (CLASSES, {"labels": [0, -1]}, "The label of the sample 'a' is not a class from 0 to 1."),
        (
            CLASSES,
            {"labels": [0.0, 1.0]},
            "The labels of a multiclass task are class indices, not numbers of type float64.",
        ),
        (
            FINDINGS,
            {"labels": [[0, 1], [0.5, 1]]},
            "The label of the sample 'a' is not 0, 1 or NaN for each finding.",
        ),
        (
            AGE,
            {"labels": [[math.inf], [1]], "scores": [[1], [1]]},
            "The label of the sample 'b' is not finite, or NaN where it is missing.",
        ),
        (
            Task(names=("hand", "hand")),
            {},
            "The task has more than one output named 'hand'. Rename all but one.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(task: Task, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        make(task, **changes)
    assert str(caught.value) == message


HEADER = "id,group,label,prediction,p(hand),p(head)\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"id,label\n",
            "{path} holds no predictions for this task: its columns are id, label, but should be "
            "id, group, label, prediction, p(hand), p(head).",
        ),
        (
            b"",
            "{path} holds no predictions for this task: its columns are none, but should be "
            "id, group, label, prediction, p(hand), p(head).",
        ),
        (HEADER.encode() + b"a,,head\n", "{path}, row 2 has 3 cells instead of 6."),
        (
            HEADER.encode() + b"a,,foot,head,0,1\n",
            "{path}, row 2: label 'foot' is not a class of this task: hand, head.",
        ),
        (HEADER.encode() + b"a,,head,head,0,x\n", "{path}, row 2: p(head) 'x' is not a number."),
        (
            HEADER.encode() + b"a,,head,head,0,2\n",
            "{path} can't be used: The scores of the sample 'a' are not probabilities: they must "
            "be from 0 to 1. Use to_scores on the network's outputs.",
        ),
        (b"\xff", "{path} is not UTF-8, so medpipe did not write it."),
        (b'"a"b\n', "{path} is not valid CSV: ',' expected after '\"'."),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_predictions(path, CLASSES)
    assert str(caught.value) == message.format(path=path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with pytest.raises(RunError) as caught:
        read_predictions(path, CLASSES)
    assert str(caught.value) == f"{path} can't be read: no such file or directory."
