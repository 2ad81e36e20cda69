from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from medpipe.evaluation.lines import metric_lines
from medpipe.evaluation.metrics import (
    compute_metrics,
    is_better,
    metrics_of,
    mode_of,
)
from medpipe.evaluation.predictions import Predictions
from medpipe.steps import Task
from medpipe.tasks import TASKS, task_step
from support.examples import examples

METRICS = {step.name: step.metrics for step in TASKS}
KINDS: tuple[str, ...] = ("multiclass", "multilabel", "regression")


def make(
    kind: str, scores: Any, labels: Any, groups: Any = None, ids: Any = None, extra: Any = None
) -> Predictions:
    scores = np.asarray(scores, dtype=float)
    return Predictions(
        task=Task(
            kind=kind,
            names=tuple(f"n{place}" for place in range(scores.shape[1])),
            unit="years" if kind == "regression" else None,
        ),
        ids=ids or tuple(f"s{row:05}" for row in range(len(scores))),
        scores=scores,
        labels=labels,
        groups=groups or (None,) * len(scores),
        extra=extra or {},
    )


def drawn(kind: str, *, count: int = 300, outputs: int = 4, seed: int = 0) -> Predictions:
    """Predictions with ties, missing labels and classes of different sizes."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, outputs)).round(1)
    if kind == "regression":
        labels = 40 + scores + rng.normal(size=scores.shape)
        labels[rng.random(labels.shape) < 0.2] = math.nan
        return make(kind, scores + 40, labels)
    if kind == "multilabel":
        scores = 1 / (1 + np.exp(-scores))
        found = (rng.random(scores.shape) < scores / 2).astype(float)
        found[rng.random(found.shape) < 0.2] = math.nan
        return make(kind, scores, found)
    classes = rng.choice(outputs, size=count, p=np.arange(1, outputs + 1) / 10)
    scores[np.arange(count), classes] += 1
    exponents = np.exp(scores)
    return make(kind, exponents / exponents.sum(axis=1, keepdims=True), classes)


@st.composite
def small(draw: st.DrawFn) -> Predictions:
    kind: str = draw(st.sampled_from(KINDS))
    count, outputs = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    cells = count * outputs
    steps = st.integers(0, 4).map(lambda step: step / 4)
    scores = np.array(draw(st.lists(steps, min_size=cells, max_size=cells)))
    label: Any = {
        "multiclass": st.integers(0, outputs - 1),
        "multilabel": st.sampled_from([0.0, 1.0, math.nan]),
        "regression": st.sampled_from([0.0, 0.5, 3.0, 1e6, math.nan]),
    }[kind]
    number = count if kind == "multiclass" else cells
    labels = np.array(draw(st.lists(label, min_size=number, max_size=number)))
    return make(
        kind,
        scores.reshape(count, outputs),
        labels if kind == "multiclass" else labels.reshape(count, outputs),
        tuple(draw(st.sampled_from([None, "p1", "p2"])) for _ in range(count)),
        extra={"site": [draw(st.sampled_from(["", "a", "b"])) for _ in range(count)]},
    )


def shuffled(predictions: Predictions, order: list[int]) -> Predictions:
    return Predictions(
        task=predictions.task,
        ids=tuple(predictions.ids[row] for row in order),
        scores=predictions.scores[order],
        labels=predictions.labels[order],
        groups=tuple(predictions.groups[row] for row in order),
        extra={
            name: tuple(cells[row] for row in order) for name, cells in predictions.extra.items()
        },
    )


def test_classes_agree_with_scikit_learn() -> None:
    predictions = drawn("multiclass")
    found = compute_metrics(predictions)
    pair = predictions.labels, predictions.predicted
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(*pair)
    assert found["images"] == 300
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(*pair))
    assert found["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(*pair)
    )
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(*pair, average="macro"))
    assert found["auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(predictions.labels, predictions.scores, multi_class="ovr")
    )
    assert found["confusion"] == sklearn_metrics.confusion_matrix(*pair).tolist()
    truth_matrix = np.eye(4)[predictions.labels]
    assert found["average_precision"] == pytest.approx(
        sklearn_metrics.average_precision_score(truth_matrix, predictions.scores)
    )
    for place, table in enumerate(found["classes"].values()):
        rest = predictions.labels != place, predictions.predicted != place
        assert table == {
            "images": support[place],
            "recall": pytest.approx(recall[place]),
            "specificity": pytest.approx(sklearn_metrics.recall_score(*rest)),
            "average_precision": pytest.approx(
                sklearn_metrics.average_precision_score(~rest[0], predictions.scores[:, place])
            ),
            "precision": pytest.approx(precision[place]),
            "f1": pytest.approx(f1[place]),
            "auc": pytest.approx(
                sklearn_metrics.roc_auc_score(
                    predictions.labels == place, predictions.scores[:, place]
                )
            ),
        }


def test_findings_agree_with_scikit_learn() -> None:
    predictions = drawn("multilabel")
    found = compute_metrics(predictions)
    tables = []
    for place, name in enumerate(predictions.task.names):
        known = ~np.isnan(predictions.labels[:, place])
        truth, scores = predictions.labels[known, place], predictions.scores[known, place]
        tables.append(
            {
                "images": int(known.sum()),
                "positives": int(truth.sum()),
                "auc": pytest.approx(sklearn_metrics.roc_auc_score(truth, scores)),
                "average_precision": pytest.approx(
                    sklearn_metrics.average_precision_score(truth, scores)
                ),
                "f1": pytest.approx(sklearn_metrics.f1_score(truth, scores >= 0.5)),
                "recall": pytest.approx(sklearn_metrics.recall_score(truth, scores >= 0.5)),
                "specificity": pytest.approx(
                    sklearn_metrics.recall_score(truth == 0, scores < 0.5)
                ),
                "precision": pytest.approx(sklearn_metrics.precision_score(truth, scores >= 0.5)),
            }
        )
        assert found["findings"][name] == tables[-1]
    for metric in ("auc", "average_precision", "f1"):
        assert found[metric] == pytest.approx(
            np.mean([table[metric] for table in found["findings"].values()])
        )


def test_a_regression_agrees_with_scikit_learn() -> None:
    predictions = drawn("regression")
    found = compute_metrics(predictions)
    for place, table in enumerate(found["targets"].values()):
        known = ~np.isnan(predictions.labels[:, place])
        pair = predictions.labels[known, place], predictions.scores[known, place]
        assert table == {
            "images": int(known.sum()),
            "mae": pytest.approx(sklearn_metrics.mean_absolute_error(*pair)),
            "rmse": pytest.approx(sklearn_metrics.root_mean_squared_error(*pair)),
            "r2": pytest.approx(sklearn_metrics.r2_score(*pair)),
        }
    assert found["unit"] == "years"
    assert found["mae"] == pytest.approx(
        np.mean([table["mae"] for table in found["targets"].values()])
    )


def test_two_classes_have_sensitivity_and_specificity() -> None:
    scores = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]]
    found = compute_metrics(make("multiclass", scores, [0, 0, 0, 1, 1]))
    well, ill = found["classes"]["n0"], found["classes"]["n1"]
    assert (ill["recall"], ill["specificity"]) == pytest.approx((1 / 2, 2 / 3))
    assert (well["recall"], well["specificity"]) == pytest.approx((2 / 3, 1 / 2))
    assert well["auc"] == pytest.approx(ill["auc"])
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def of_scikit_learn(predictions: Predictions) -> dict[str, float | None]:
    """The main metrics by scikit-learn alone, of the labels that are there."""
    kind, labels, scores = predictions.task.kind, predictions.labels, predictions.scores
    columns: dict[str, list[float]] = {name: [] for name in METRICS[kind]}
    whole: dict[str, float | None] = {}
    if kind == "multiclass":
        whole["accuracy"] = sklearn_metrics.accuracy_score(labels, predictions.predicted)
        labels = np.eye(scores.shape[1])[labels]
        decided = np.eye(scores.shape[1])[predictions.predicted] == 1
    else:
        decided = scores >= 0.5
    for place in range(scores.shape[1]):
        known = ~np.isnan(labels[:, place])
        truth, score, said = labels[known, place], scores[known, place], decided[known, place]
        both = 0 < truth.sum() < len(truth)
        if kind == "regression":
            if len(truth):
                columns["mae"].append(sklearn_metrics.mean_absolute_error(truth, score))
                columns["rmse"].append(sklearn_metrics.root_mean_squared_error(truth, score))
            if len(set(truth)) > 1:
                columns["r2"].append(sklearn_metrics.r2_score(truth, score))
            continue
        if both:
            columns["auc"].append(sklearn_metrics.roc_auc_score(truth, score))
            columns["average_precision"].append(
                sklearn_metrics.average_precision_score(truth, score)
            )
        elif kind == "multiclass":
            whole["auc"] = whole["average_precision"] = None
        if truth.any() or said.any():
            columns["f1"].append(sklearn_metrics.f1_score(truth, said))
        if kind == "multiclass" and truth.any():
            columns["balanced_accuracy"].append(sklearn_metrics.recall_score(truth, said))
    means = {name: np.mean(some) if some else None for name, some in columns.items()}
    return {**means, **whole}


@settings(max_examples=examples(100), deadline=None)
@given(predictions=small())
def test_every_metric_equals_scikit_learns_whatever_is_missing(predictions: Predictions) -> None:
    found = compute_metrics(predictions)
    for name, value in of_scikit_learn(predictions).items():
        expected = value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)
        assert found[name] == expected, name


def test_what_no_number_can_hold_is_undefined() -> None:
    with np.errstate(over="ignore"):
        found = compute_metrics(make("regression", [[1e300], [0.0]], [[-1e300], [1.0]]))
    assert found["mae"] == 1e300
    assert found["rmse"] is None
    json.dumps(found, allow_nan=False)


def test_a_column_without_any_label_leaves_the_means_of_the_others() -> None:
    for kind in ("multilabel", "regression"):
        whole = drawn(kind)
        labels = whole.labels.copy()
        labels[:, 1] = math.nan
        found = compute_metrics(make(kind, whole.scores, labels), intervals=True)
        others = [0, 2, 3]
        rest = compute_metrics(make(kind, whole.scores[:, others], labels[:, others]))
        for name in set(METRICS[kind]):
            assert found[name] == pytest.approx(rest[name])
            low, high = found["intervals"][name]
            assert low < found[name] < high


def test_subgroups_are_the_metrics_of_their_samples() -> None:
    base = drawn("multiclass", count=60)
    sites = tuple("north" if row % 3 else "south" for row in range(60))
    predictions = Predictions(
        task=base.task,
        ids=base.ids,
        scores=base.scores,
        labels=base.labels,
        groups=tuple(f"p{row // 2}" if row < 40 else None for row in range(60)),
        extra={
            "site": sites,
            "one": ("same",) * 60,
            "number": base.ids,
            "sex": ("f", "m", "") * 20,
        },
    )
    found = compute_metrics(predictions, intervals=True, subgroups=True)
    assert "subgroups" not in compute_metrics(predictions)
    assert {column: list(table) for column, table in found["subgroups"].items()} == {
        "site": ["north", "south"],
        "sex": ["", "f", "m"],
    }
    rows = [row for row in range(60) if row % 3]
    north = compute_metrics(predictions.taken(rows), intervals=True)
    names = ["accuracy", "balanced_accuracy", "f1", "auc", "average_precision"]
    assert found["subgroups"]["site"]["north"] == {
        "images": 40,
        "groups": 34,  # all 20 patients have an image here, and 14 images have no patient
        **{name: north[name] for name in names},
        "intervals": north["intervals"],
    }
    plain = compute_metrics(predictions, subgroups=True)["subgroups"]["site"]["north"]
    assert list(plain) == ["images", "groups", *names]


@pytest.mark.parametrize("kind", KINDS)
def test_small_subgroups_leave_none_where_nothing_is_defined(kind: str) -> None:
    base = drawn(kind, count=21)
    predictions = Predictions(
        task=base.task,
        ids=base.ids,
        scores=base.scores,
        labels=base.labels,
        groups=base.groups,
        extra={"center": tuple(str(min(row, 19)) for row in range(21)), "id": base.ids},
    )
    found = compute_metrics(predictions, intervals=True, subgroups=True)
    json.dumps(found, allow_nan=False)
    assert len(found["subgroups"]["center"]) == 20
    assert found["subgroups"]["center"]["19"]["images"] == 2
    undefined = {"multiclass": "auc", "multilabel": "auc", "regression": "r2"}[kind]
    assert found["subgroups"]["center"]["0"][undefined] is None
    assert "id" not in found["subgroups"]


def test_an_absent_class_leaves_the_auc_undefined_and_the_means_over_the_others() -> None:
    found = compute_metrics(make("multiclass", [[0.9, 0.1, 0], [0.2, 0.8, 0]], [0, 1]))
    assert found["accuracy"] == found["balanced_accuracy"] == found["f1"] == 1
    assert found["auc"] is None
    assert found["average_precision"] is None
    nothing = dict.fromkeys(("recall", "precision", "f1", "auc", "average_precision"))
    assert found["classes"]["n2"] == {"images": 0, "specificity": 1, **nothing}
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_an_absent_class_that_is_predicted_counts_in_the_f1() -> None:
    found = compute_metrics(make("multiclass", [[0.9, 0.1], [0.2, 0.8]], [0, 0]))
    assert found["balanced_accuracy"] == 0.5
    assert found["f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["classes"]["n1"]["precision"] == 0
    assert found["classes"]["n1"]["recall"] is None


def test_findings_with_one_value_are_left_out_of_the_mean_auc() -> None:
    labels = [[1, 1, math.nan], [0, 1, math.nan]]
    found = compute_metrics(make("multilabel", [[0.9, 0.6, 0], [0.1, 0.2, 1]], labels))
    assert found["auc"] == found["average_precision"] == 1
    assert found["findings"]["n1"]["auc"] is None
    assert found["findings"]["n1"]["recall"] == 0.5
    assert found["findings"]["n2"]["images"] == 0
    assert found["f1"] == pytest.approx((1 + 2 / 3) / 2)  # n2 has no label that is known


def test_equal_labels_leave_r2_undefined() -> None:
    found = compute_metrics(make("regression", [[1.0], [3.0]], [[2.0], [2.0]]))
    assert (found["mae"], found["rmse"], found["r2"]) == (1, 1, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1])
def test_few_samples_give_none_and_no_error(kind: str, count: int) -> None:
    scores = np.full((count, 2), 0.5)
    labels = np.zeros(count, dtype=int) if kind == "multiclass" else np.full((count, 2), math.nan)
    found = compute_metrics(make(kind, scores, labels), intervals=True)
    json.dumps(found, allow_nan=False)
    assert found["images"] == count
    if kind != "multiclass":
        assert found[task_step(kind).monitor] is None
    elif count == 0:
        assert found["accuracy"] is None


@settings(max_examples=examples(100), deadline=None)
@given(predictions=small(), data=st.data())
def test_the_order_of_samples_changes_nothing(predictions: Predictions, data: Any) -> None:
    order = data.draw(st.permutations(range(len(predictions))))
    found = compute_metrics(predictions, intervals=True, subgroups=True)
    again = compute_metrics(shuffled(predictions, order), intervals=True, subgroups=True)
    assert again == found


@settings(max_examples=examples(200), deadline=None)
@given(predictions=small())
def test_metrics_are_plain_bounded_and_inside_their_intervals(predictions: Predictions) -> None:
    found = compute_metrics(predictions, intervals=True)
    json.dumps(found, allow_nan=False)
    kind = predictions.task.kind
    names = set(METRICS[kind])
    assert names <= set(found)
    assert set(found["intervals"]) == names
    for name, interval in found["intervals"].items():
        value = found[name]
        if value is None:
            assert interval is None
            continue
        numbers = [value] if interval is None else [interval[0], value, interval[1]]
        assert numbers == sorted(numbers)
        if kind != "regression":
            assert numbers[0] >= 0
            assert numbers[-1] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_can_monitor_its_default_and_the_loss(kind: str) -> None:
    task = Task(kind=kind, names=("a", "b"))
    metrics = metrics_of(task)
    assert task.step.monitor in metrics
    assert mode_of("loss", metrics) == "min"
    assert set(metrics) <= set(compute_metrics(drawn(kind)))


def test_the_default_monitors() -> None:
    names = [task_step(kind).monitor for kind in KINDS]
    assert names == ["balanced_accuracy", "auc", "mae"]


def test_what_is_better() -> None:
    assert is_better("max", 0.9, 0.8)
    assert not is_better("max", 0.8, 0.8)
    assert is_better("min", 0.7, 0.8)
    assert not is_better("min", 0.9, 0.8)
    assert is_better("min", 0.9, None)
    assert is_better("max", 0.9, math.nan)
    assert not is_better("max", None, None)
    assert not is_better("max", math.nan, None)
    assert not is_better("min", None, 0.5)


def test_lines_for_people() -> None:
    intervals = {"accuracy": [0.25, 0.75], "auc": None}
    metrics = {"images": 4, "accuracy": 0.5, "auc": 1.0, "f1": None, "intervals": intervals}
    assert metric_lines(metrics, "    ") == [
        "    accuracy             0.5000 (95 % interval 0.2500 to 0.7500)",
        "    auc                  1.0000",
    ]
    assert metric_lines({"images": 4, "loss": 2.0}) == ["  loss                 2.0000"]
