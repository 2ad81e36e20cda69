"""Labels of another data set, matched to a network's question by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.errors import DataError
from medpipe.evaluation.matching import matched
from medpipe.steps import Dataset, Sample, Task
from support.examples import examples

PIXELS = np.zeros((4, 4), np.uint8)
CLASSES = Task(names=("cat", "dog", "owl"))
FINDINGS = Task(kind="multilabel", names=("cyst", "mass"))
AGE = Task(kind="regression", names=("age", "dose"), unit="years")


def dataset(task: Task, *labels: Any) -> Dataset:
    samples = [Sample(id=f"s{row}", image=PIXELS, label=label) for row, label in enumerate(labels)]
    return Dataset(samples=samples, task=task)


def labels(data: Dataset) -> list[Any]:
    return [sample.label for sample in data.samples]


@given(order=st.permutations(["cat", "dog", "owl"]), places=st.lists(st.integers(0, 2), min_size=1))
@settings(max_examples=examples(30), deadline=None)
def test_a_class_keeps_its_name_in_any_order(order: list[str], places: list[int]) -> None:
    found = matched(dataset(Task(names=order), *places), CLASSES)
    assert [CLASSES.names[label] for label in labels(found)] == [order[place] for place in places]
    assert found.task == CLASSES


def test_classes_may_be_a_subset_and_unused_ones_strangers() -> None:
    given = dataset(Task(names=("fox", "owl", "cat")), 1, 2, 1.0)
    assert labels(matched(given, CLASSES)) == [2, 0, 2]


def test_findings_and_targets_that_are_absent_are_missing() -> None:
    found = matched(dataset(Task(kind="multilabel", names=("mass",)), (1.0,), (0.0,)), FINDINGS)
    np.testing.assert_array_equal(labels(found), [(math.nan, 1), (math.nan, 0)])
    turned = Task(kind="multilabel", names=("mass", "cyst"))
    found = matched(dataset(turned, (1.0, math.nan)), FINDINGS)
    np.testing.assert_array_equal(labels(found), [(math.nan, 1)])
    found = matched(dataset(Task(kind="regression", names=("dose",)), 3.5), AGE)
    np.testing.assert_array_equal(labels(found), [(math.nan, 3.5)])


def test_everything_else_of_the_samples_stays() -> None:
    sample = Sample(id="a", image=PIXELS, label=0, group="p", extra={"site": "north"})
    given = Dataset(samples=[sample], task=Task(names=("owl",)), notes=("left out",))
    found = matched(given, CLASSES)
    (again,) = found.samples
    assert (again.id, again.group, again.extra, again.label) == ("a", "p", {"site": "north"}, 2)
    assert found.notes == ("left out",)


@pytest.mark.parametrize(
    ("given", "task", "message"),
    [
        (
            dataset(Task(names=("cat", "fox")), 0, 1),
            CLASSES,
            "The class 'fox' of the data set is unknown to the network, which was trained on: "
            "cat, dog, owl. Map it to one of these with dataset.classes, or leave its samples "
            "out.",
        ),
        (
            dataset(Task(kind="multilabel", names=("cyst", "tumour")), (0.0, 1.0)),
            FINDINGS,
            "The finding 'tumour' of the data set is unknown to the network, which was trained "
            "on: cyst, mass. Map it to one of these with dataset.classes, or leave it out of the "
            "labels.",
        ),
        (
            dataset(Task(kind="regression", names=("Age",)), 3.0),
            AGE,
            "The target 'Age' of the data set is unknown to the network, which was trained on: "
            "age, dose. Name the column as the run does, or leave it out of the labels.",
        ),
        (
            dataset(Task(kind="regression", names=("age",), unit="months"), 3.0),
            AGE,
            "The data set's targets are in months, but the network's are in years. Convert the "
            "table's values, or correct dataset.label_unit.",
        ),
        (
            dataset(Task(kind="regression", names=("age",)), 3.0),
            CLASSES,
            "The data set's task is regression (age), but the network was trained for multiclass "
            "(cat, dog, owl). Set dataset.label and dataset.task as in training.",
        ),
        (
            dataset(CLASSES, 0, 3),
            CLASSES,
            "The sample 's1' has the label 3, which the data set's task does not have: "
            "multiclass (cat, dog, owl).",
        ),
        (
            dataset(CLASSES, math.nan),
            CLASSES,
            "The sample 's0' has the label nan, which the data set's task does not have: "
            "multiclass (cat, dog, owl).",
        ),
        (
            dataset(FINDINGS, (1.0,)),
            FINDINGS,
            "The sample 's0' has the label (1.0,), which the data set's task does not have: "
            "multilabel (cyst, mass).",
        ),
    ],
)
def test_what_does_not_match_is_refused(given: Dataset, task: Task, message: str) -> None:
    with pytest.raises(DataError) as caught:
        matched(given, task)
    assert str(caught.value) == message


@pytest.mark.parametrize("unit", [None, "years"])
def test_a_unit_must_agree_only_where_both_say_one(unit: str | None) -> None:
    given = dataset(Task(kind="regression", names=("age", "dose"), unit=unit), (3.0, 1.0))
    assert matched(given, AGE).task.unit == "years"


KINDS: list[str] = ["multiclass", "multilabel", "regression"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_question_changes_no_label(kind: str) -> None:
    label: Any = 1 if kind == "multiclass" else (0.0, 1.0)
    task = Task(kind=kind, names=("a", "b"))
    assert labels(matched(dataset(task, label), task)) == [label]
