from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics
from threadpoolctl import threadpool_info

from medpipe.builtin.counting import Ranking
from medpipe.builtin.metrics import AUC, MAE
from medpipe.evaluation import intervals, resampling
from medpipe.evaluation.measured import measure
from medpipe.evaluation.metrics import compute_metrics, metrics_of
from medpipe.evaluation.predictions import Predictions
from medpipe.registry.registry import Registry
from medpipe.steps import Task

REGISTRY = Registry.discover()
KINDS: tuple[str, ...] = ("multiclass", "multilabel", "regression")


def drawn(
    kind: str, *, count: int = 200, outputs: int = 3, copies: int = 1, grouped: bool = False
) -> Predictions:
    """Predictions with ties and missing labels; each is there `copies` times, as one group."""
    rng = np.random.default_rng(3)
    scores = rng.random((count, outputs)).round(2)
    labels: np.ndarray
    if kind == "multiclass":
        labels = np.where(rng.random(count) < 0.7, scores.argmax(axis=1), 0)
    elif kind == "multilabel":
        labels = (rng.random(scores.shape) < scores).astype(float)
    else:
        labels = scores + rng.normal(size=scores.shape)
    if kind != "multiclass":
        labels[rng.random(labels.shape) < 0.1] = math.nan
    groups = [f"p{row:04}" if grouped else None for row in range(count)]
    return Predictions(
        task=Task(kind=kind, names=tuple(f"n{place}" for place in range(outputs))),
        ids=tuple(f"s{row:04}-{copy}" for row in range(count) for copy in range(copies)),
        scores=np.repeat(scores, copies, axis=0),
        labels=np.repeat(labels, copies, axis=0),
        groups=tuple(np.repeat(np.array(groups, dtype=object), copies)),
    )


def taken(predictions: Predictions, rows: np.ndarray) -> Predictions:
    return Predictions(
        task=predictions.task,
        ids=tuple(f"{place:06}" for place in range(len(rows))),
        scores=predictions.scores[rows],
        labels=predictions.labels[rows],
        groups=(None,) * len(rows),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_resample_gives_what_the_metrics_of_its_samples_are(kind: str) -> None:
    predictions = drawn(kind, count=40)
    rng = np.random.default_rng(5)
    weights = np.stack(
        [np.bincount(rng.integers(0, 40, 40), minlength=40) for _ in range(20)], axis=1
    ).astype(float)
    found = {
        name: measure(step, predictions, predictions.tables(), registry=REGISTRY).statistic(weights)
        for name, step in metrics_of(predictions.task).items()
    }
    for resample in range(20):
        rows = np.repeat(np.arange(40), weights[:, resample].astype(int))
        expected = compute_metrics(taken(predictions, rows))
        for name, values in found.items():
            assert values[resample] == pytest.approx(expected[name], rel=1e-9), name


def test_weighted_ranks_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    scores, truth = rng.integers(0, 10, 60) / 10, rng.random(60) < 0.4
    weights = rng.integers(0, 4, (60, 5)).astype(float)
    ranking = Ranking.of(truth, scores, np.full(60, True))
    for column in range(5):
        weight = weights[:, column]
        assert ranking.auc(weights)[column] == pytest.approx(
            sklearn_metrics.roc_auc_score(truth, scores, sample_weight=weight)
        )
        assert ranking.average_precision(weights)[column] == pytest.approx(
            sklearn_metrics.average_precision_score(truth, scores, sample_weight=weight)
        )


def test_the_accuracy_of_single_samples_has_wilsons_interval() -> None:
    predictions = drawn("multiclass")
    right = int((predictions.labels == predictions.predicted).sum())
    expected = binomtest(right, 200).proportion_ci(0.95, method="wilson")
    found = compute_metrics(predictions, intervals=True)
    assert found["intervals"]["accuracy"] == pytest.approx([expected.low, expected.high])
    assert found["interval_method"] == (
        "95 %; accuracy, balanced_accuracy: Wilson's score, 200 samples; f1, auc, "
        "average_precision: jackknife over 200 samples, logit scale"
    )


def test_groups_of_one_are_as_no_groups() -> None:
    alone = compute_metrics(drawn("multiclass"), intervals=True)
    assert compute_metrics(drawn("multiclass", grouped=True), intervals=True) == alone


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_one_patient_are_no_independent_samples(kind: str) -> None:
    apart = compute_metrics(drawn(kind, copies=9), intervals=True)["intervals"]
    found = compute_metrics(drawn(kind, copies=9, grouped=True), intervals=True)
    for name, (low, high) in found["intervals"].items():
        # Nine equal samples hold as much as one: the interval is three times as wide.
        ratio = (high - low) / (apart[name][1] - apart[name][0])
        assert 2.3 < ratio < 3.9, name
    assert "200 groups" in found["interval_method"]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_each_patient_change_nothing(kind: str) -> None:
    """Nine copies of a patient's sample are drawn together, so they weigh as one."""
    found = compute_metrics(drawn(kind, copies=9, grouped=True), intervals=True)["intervals"]
    single = compute_metrics(drawn(kind, grouped=True), intervals=True)["intervals"]
    for name, interval in found.items():
        # Between groups of several samples a variance is estimated, by Student's t.
        near = {"rel": 0.01} if name in ("accuracy", "balanced_accuracy") else {}
        assert interval == pytest.approx(single[name], **near), name


def test_a_perfect_result_has_intervals_for_proportions_alone() -> None:
    scores = np.repeat(np.eye(2), 10, axis=0)
    predictions = Predictions(
        task=Task(names=("a", "b")),
        ids=tuple(f"{row:02}" for row in range(20)),
        scores=scores,
        labels=scores.argmax(axis=1),
        groups=tuple(f"p{row // 5}" for row in range(20)),
    )
    low, of_class = (
        binomtest(groups, groups).proportion_ci(0.95, method="wilson").low for groups in (4, 2)
    )
    found = compute_metrics(predictions, intervals=True)
    assert found["auc"] == 1
    assert found["intervals"] == {
        "accuracy": pytest.approx([low, 1.0]),  # four patients, not twenty images
        "balanced_accuracy": pytest.approx([1 - (1 - of_class) / math.sqrt(2), 1.0]),
        "f1": None,
        "auc": None,
        "average_precision": None,
    }


def test_one_group_says_nothing_about_others() -> None:
    predictions = Predictions(
        task=Task(names=("a", "b")),
        ids=("1", "2"),
        scores=[[1, 0], [1, 0]],
        labels=[0, 1],
        groups=("p", "p"),
    )
    found = compute_metrics(predictions, intervals=True)["intervals"]
    names = ("accuracy", "balanced_accuracy", "f1", "auc", "average_precision")
    assert found == dict.fromkeys(names)


def test_a_metric_that_few_resamples_define_has_no_interval() -> None:
    values = np.linspace(0.1, 0.2, 100)
    values[:5] = math.nan
    assert intervals._percentiles(values, 0.2) is not None
    values[5] = math.nan
    assert intervals._percentiles(values, 0.2) is None


def test_an_interval_is_widened_to_hold_a_value_that_resampling_misses() -> None:
    values = np.linspace(0.4, 0.6, 1001)
    assert intervals._percentiles(values, 0.5) == pytest.approx([0.405, 0.595])
    assert intervals._percentiles(values, 0.3) == pytest.approx([0.3, 0.595])
    assert intervals._percentiles(values, 0.7) == pytest.approx([0.405, 0.7])


def test_the_size_of_the_chunks_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [weights.shape[1] for weights in resampling.bootstrap_weights(np.arange(7))]
    assert counts == [1000]
    whole = next(resampling.jackknife_weights(np.arange(7)))
    assert (whole == 1 - np.eye(7)).all()
    monkeypatch.setattr(resampling, "_NUMBERS_AT_ONCE", 7 * 300)
    chunks = list(resampling.bootstrap_weights(np.arange(7)))
    assert [chunk.shape[1] for chunk in chunks] == [300, 300, 300, 100]
    assert all((chunk.sum(axis=0) == 7).all() for chunk in chunks)
    monkeypatch.setattr(resampling, "_NUMBERS_AT_ONCE", 7 * 3)
    chunks = list(resampling.jackknife_weights(np.arange(7)))
    assert [chunk.shape[1] for chunk in chunks] == [3, 3, 1]
    assert (np.concatenate(chunks, axis=1) == whole).all()


def test_of_many_groups_as_many_blocks_are_left_out() -> None:
    places = np.repeat(np.arange(2500), 2)
    weights = np.concatenate(list(resampling.jackknife_weights(places)), axis=1)
    assert weights.shape == (5000, 1000)
    left_out = 1 - weights
    assert (left_out.sum(axis=1) == 1).all()  # each sample once
    assert set(left_out.sum(axis=0)) == {4, 6}
    assert (left_out[::2] == left_out[1::2]).all()  # and groups whole


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """60 data sets of 150 samples with a true mean absolute error of the half-normal's mean."""
    rng = np.random.default_rng(11)
    truth, inside = math.sqrt(2 / math.pi), 0
    for _ in range(60):
        predictions = Predictions(
            task=Task(kind="regression", names=("x",)),
            ids=tuple(f"{row:03}" for row in range(150)),
            scores=rng.normal(size=(150, 1)),
            labels=np.zeros((150, 1)),
            groups=(None,) * 150,
        )
        low, high = compute_metrics(predictions, intervals=True)["intervals"]["mae"]
        inside += low <= truth <= high
    assert 51 <= inside <= 60


@pytest.mark.parametrize(("kind", "step"), [("multiclass", AUC), ("regression", MAE)])
def test_resamples_are_computed_many_at_once_and_with_one_thread(
    monkeypatch: pytest.MonkeyPatch, kind: str, step: Any
) -> None:
    """MedNIST's test split: one at a time, or with threads that wait for each other, takes long."""
    computed: list[int] = []
    of_one = step.statistic

    def counted(self: Any, rows: np.ndarray, task: Task) -> Callable[..., np.ndarray]:
        statistic = of_one(self, rows, task)

        def count(weights: np.ndarray) -> np.ndarray:
            computed.append(weights.shape[1])
            blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
            numpys = [each for each in blas if "numpy" in each["filepath"]]
            assert numpys
            assert all(each["num_threads"] == 1 for each in numpys)
            return statistic(weights)

        return count

    monkeypatch.setattr(step, "statistic", counted)
    compute_metrics(drawn(kind, count=5900, outputs=2), intervals=True)
    assert sum(computed) == 1000
    assert len(computed) == math.ceil(1000 / (200_000 // 5900))
