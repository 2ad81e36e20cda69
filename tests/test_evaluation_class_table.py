from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from medpipe.evaluation.class_table import PROPORTIONS, class_table
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from support.examples import examples
from support.predicted import predicted as make


@st.composite
def small(draw: st.DrawFn) -> Predictions:
    """Predictions with ties, absent classes and missing labels."""
    kind = draw(st.sampled_from(["multiclass", "multilabel"]))
    count, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    cells = count * outputs
    steps = st.integers(0, 4).map(lambda step: step / 4)
    scores = np.array(draw(st.lists(steps, min_size=cells, max_size=cells)))
    label = (
        st.integers(0, outputs - 1)
        if kind == "multiclass"
        else st.sampled_from([0.0, 1.0, math.nan])
    )
    number = count if kind == "multiclass" else cells
    labels = np.array(draw(st.lists(label, min_size=number, max_size=number)))
    groups = tuple(draw(st.sampled_from([None, "p1", "p2"])) for _ in range(count))
    labels = labels if kind == "multiclass" else labels.reshape(count, outputs)
    return make(kind, scores.reshape(count, outputs), labels, groups)


def of_scikit_learn(predictions: Predictions, place: int) -> dict[str, Any]:
    """One class or finding by scikit-learn's confusion matrix."""
    labels, answers = predictions.labels, predictions.predicted
    if predictions.task.kind == "multiclass":
        truth, answer = labels == place, answers == place
    else:
        known = ~np.isnan(labels[:, place])
        truth, answer = labels[known, place] == 1, answers[known, place]
    if not len(truth):
        return {"images": 0, "cases": 0, "predicted": 0, **dict.fromkeys(PROPORTIONS)}
    tn, fp, fn, tp = confusion_matrix(truth, answer, labels=[False, True]).ravel().tolist()
    return {
        "images": tn + fp + fn + tp,
        "cases": tp + fn,
        "predicted": tp + fp,
        "sensitivity": tp / (tp + fn) if tp + fn else None,
        "specificity": tn / (tn + fp) if tn + fp else None,
        "ppv": tp / (tp + fp) if tp + fp else None,
        "npv": tn / (tn + fn) if tn + fn else None,
    }


@settings(max_examples=examples(100), deadline=None)
@given(predictions=small())
def test_the_table_equals_scikit_learns_confusion_matrix(predictions: Predictions) -> None:
    found = class_table(predictions)
    json.dumps(found, allow_nan=False)
    assert list(found) == list(predictions.task.names)
    for place, table in enumerate(found.values()):
        intervals = table.pop("intervals")
        assert table == of_scikit_learn(predictions, place)
        assert list(intervals) == list(PROPORTIONS)
        for measure, interval in intervals.items():
            if table[measure] is None:
                assert interval is None
            elif interval is not None:
                assert 0 <= interval[0] <= table[measure] <= interval[1] <= 1


@settings(max_examples=examples(30), deadline=None)
@given(predictions=small(), data=st.data())
def test_the_order_of_samples_changes_nothing(predictions: Predictions, data: Any) -> None:
    order = data.draw(st.permutations(range(len(predictions))))
    assert class_table(predictions.taken(order)) == class_table(predictions)


def drawn(copies: int = 1) -> Predictions:
    """100 answers, of which each is there `copies` times, as one patient."""
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 2, 100), copies)
    wrong = np.repeat(rng.random(100) < 0.2, copies)
    scores = np.eye(2)[np.where(wrong, 1 - labels, labels)]
    groups = tuple(f"p{row // copies:03}" for row in range(100 * copies))
    return make("multiclass", scores, labels, groups)


def test_single_samples_have_wilsons_interval() -> None:
    predictions = drawn()
    ill, right = predictions.labels == 1, predictions.labels == predictions.predicted
    table = class_table(predictions)["n1"]
    for measure, some in (("sensitivity", ill), ("specificity", ~ill)):
        expected = binomtest(int(right[some].sum()), int(some.sum())).proportion_ci(method="wilson")
        assert table["intervals"][measure] == pytest.approx([expected.low, expected.high])


def test_images_of_one_patient_count_as_one() -> None:
    alone, several = class_table(drawn())["n1"], class_table(drawn(copies=9))["n1"]
    for measure in PROPORTIONS:
        assert several[measure] == alone[measure]
        low, high = several["intervals"][measure]
        expected = alone["intervals"][measure]
        # 900 independent images would give an interval a third as wide.
        assert 0.8 < (high - low) / (expected[1] - expected[0]) < 1.25


def test_all_right_is_wilsons_interval_of_the_patients() -> None:
    labels = np.repeat([0, 1], 12)
    groups = tuple(f"p{row // 3}" for row in range(24))
    table = class_table(make("multiclass", np.eye(2)[labels], labels, groups))["n1"]
    expected = binomtest(4, 4).proportion_ci(method="wilson")
    assert table["intervals"]["sensitivity"] == pytest.approx([expected.low, 1.0])


def test_a_task_without_classes_has_no_table() -> None:
    assert class_table(make("regression", [[1.0], [2.0]], [[1.0], [3.0]])) == {}


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_no_samples_leave_everything_undefined(kind: str) -> None:
    labels = np.zeros(0, dtype=int) if kind == "multiclass" else np.zeros((0, 2))
    nothing = dict.fromkeys(PROPORTIONS)
    counts = {"images": 0, "cases": 0, "predicted": 0}
    table = class_table(make(kind, np.zeros((0, 2)), labels))
    expected = {**counts, **nothing, "intervals": nothing}
    assert table == {"n0": expected, "n1": expected}


def test_the_table_is_among_the_metrics_that_have_intervals() -> None:
    predictions = drawn()
    assert compute_metrics(predictions, intervals=True)["class_table"] == class_table(predictions)
    assert "class_table" not in compute_metrics(predictions)
    regression = make("regression", [[1.0], [2.0]], [[1.0], [3.0]])
    assert "class_table" not in compute_metrics(regression, intervals=True)
