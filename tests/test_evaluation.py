"""Metrics and intervals against scikit-learn, and predictions as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from medpipe import RunError, Task
from medpipe.evaluation.metrics import compute_metrics, is_better
from medpipe.evaluation.predictions import (
    Predictions,
    read_predictions,
    to_scores,
    write_predictions,
)

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = Task(names=("a", "b, c", 'd"e'))
FINDINGS = Task(kind="multilabel", names=("x", "y"))
AGES = Task(kind="regression", names=("age", "weight"), unit="years")


def made(task: Task, count: int, seed: int, groups: int | None = None) -> Predictions:
    rng = np.random.default_rng(seed)
    outputs = len(task.names)
    scores: Any = rng.random((count, outputs))
    labels: Any
    if task.kind == "multiclass":
        scores = scores / scores.sum(axis=1, keepdims=True)
        labels = rng.integers(0, outputs, count)
    else:
        labels = rng.integers(0, 2, (count, outputs)).astype(float)
        labels += rng.random((count, outputs)) if task.kind == "regression" else 0
        labels[rng.random(labels.shape) < 0.2] = np.nan
    return Predictions(
        task=task,
        ids=tuple(f"s{i:05d}" for i in rng.permutation(count)),
        scores=scores,
        labels=labels,
        groups=tuple(f"g{i % groups}" if groups else None for i in range(count)),
    )


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(1, 80))
def test_multiclass_metrics_are_scikit_learns(seed: int, count: int) -> None:
    p = made(CLASSES, count, seed)
    found = compute_metrics(p)
    truth, guess = p.labels, p.scores.argmax(1)
    present = sorted(set(truth.tolist()))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    recall = sk.recall_score(truth, guess, labels=present, average="macro", zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(recall)
    f1 = sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(f1)
    assert found["confusion"] == sk.confusion_matrix(truth, guess, labels=[0, 1, 2]).tolist()
    if len(present) == 3:
        auc = sk.roc_auc_score(truth, p.scores, multi_class="ovr", average="macro")
        assert found["auc"] == pytest.approx(auc)
    else:
        assert found["auc"] is None


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(1, 80))
def test_missing_labels_are_left_out(seed: int, count: int) -> None:
    for task in (FINDINGS, AGES):
        p = made(task, count, seed)
        found = compute_metrics(p)
        for place, name in enumerate(task.names):
            known = ~np.isnan(p.labels[:, place])
            truth, scores = p.labels[known, place], p.scores[known, place]
            if task is AGES:
                mine = found["targets"][name]
                if known.any():
                    assert mine["mae"] == pytest.approx(np.abs(truth - scores).mean())
                    rmse = np.sqrt(((truth - scores) ** 2).mean())
                    assert mine["rmse"] == pytest.approx(rmse)
                else:
                    assert mine["mae"] is None
            elif len(set(truth)) == 2:
                auc = sk.roc_auc_score(truth, scores)
                assert found["findings"][name]["auc"] == pytest.approx(auc)
            else:
                assert found["findings"][name]["auc"] is None
            table = found["targets" if task is AGES else "findings"]
            assert table[name]["images"] == known.sum()


@pytest.mark.parametrize("task", [CLASSES, FINDINGS, AGES], ids=lambda task: task.kind)
def test_predictions_read_back_as_they_were(tmp_path: Path, task: Task) -> None:
    p = made(task, 50, 3, groups=7)
    write_predictions(tmp_path / "p.csv", p)
    again = read_predictions(tmp_path / "p.csv", task)
    order = np.argsort(p.ids)
    assert again.ids == tuple(sorted(p.ids))
    assert again.groups == tuple(p.groups[i] for i in order)
    np.testing.assert_array_equal(again.scores, p.scores[order])
    np.testing.assert_array_equal(again.labels, p.labels[order])


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,label\nx,a\n")
    with pytest.raises(RunError) as caught:
        read_predictions(tmp_path / "p.csv", CLASSES)
    assert str(caught.value) == f"{tmp_path / 'p.csv'} holds no predictions of this task: 'p(a)'."


def test_scores_of_logits() -> None:
    import torch

    logits = torch.randn(5, 3)
    np.testing.assert_allclose(to_scores(logits, CLASSES).sum(axis=1), 1)
    two = logits[:, :2]
    np.testing.assert_allclose(to_scores(two, FINDINGS), torch.sigmoid(two.double()).numpy())
    np.testing.assert_array_equal(to_scores(two, AGES), two.double().numpy())


@settings(max_examples=10, deadline=None)
@given(seed=seeds, count=st.integers(2, 200))
def test_intervals_hold_the_accuracy_and_do_not_depend_on_order(seed: int, count: int) -> None:
    p = made(CLASSES, count, seed)
    found = compute_metrics(p, intervals=True)
    low, high = found["intervals"]["accuracy"]
    assert 0 <= low <= found["accuracy"] <= high <= 1
    order = np.random.default_rng(seed).permutation(count)
    shuffled = Predictions(
        task=p.task,
        ids=tuple(p.ids[i] for i in order),
        scores=p.scores[order],
        labels=p.labels[order],
        groups=p.groups,
    )
    again = compute_metrics(shuffled, intervals=True)["intervals"]
    assert again["accuracy"] == found["intervals"]["accuracy"]
    np.testing.assert_allclose(again["balanced_accuracy"], found["intervals"]["balanced_accuracy"])


def test_patients_with_many_images_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.7, 10)
    labels = np.zeros(200, dtype=np.int64)
    scores = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
    common = {
        "task": Task(names=("a", "b")),
        "ids": tuple(f"{i:03d}" for i in range(200)),
        "scores": scores,
        "labels": labels,
    }
    patients = Predictions(**common, groups=tuple(f"p{i // 10}" for i in range(200)))
    images = Predictions(**common, groups=(None,) * 200)

    def width(predictions: Predictions) -> float:
        low, high = compute_metrics(predictions, intervals=True)["intervals"]["accuracy"]
        return float(high - low)

    assert width(patients) > 2 * width(images)


def test_an_undefined_metric_is_never_better() -> None:
    assert is_better("max", 0.2, None)
    assert is_better("max", 0.3, 0.2)
    assert not is_better("max", 0.2, 0.2)
    assert is_better("min", 0.1, 0.2)
    assert not is_better("max", None, None)
    assert not is_better("min", float("nan"), 0.2)


@pytest.mark.parametrize("change", ["scores", "labels", "groups"])
def test_shapes_that_do_not_fit_are_refused(change: str) -> None:
    p = made(CLASSES, 4, 0)
    values = {name: getattr(p, name) for name in ("task", "ids", "scores", "labels", "groups")}
    values[change] = values[change][:3]
    with pytest.raises(ValueError, match=f"{change} must|there must be 4 groups"):
        Predictions(**values)
