from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as sklearn_metrics

from medpipe.evaluation.calibration import calibration, fit_temperature, with_temperature
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from support.examples import examples
from support.predicted import predicted as make


@st.composite
def drawn(draw: st.DrawFn) -> Predictions:
    """Probabilities with ties, 0 and 1; labels of one class or missing."""
    kind = draw(st.sampled_from(["multiclass", "multilabel"]))
    count, outputs = draw(st.integers(1, 40)), draw(st.integers(2, 4))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    sharpness = draw(st.sampled_from([0.5, 2.0, 30.0, 1000.0]))
    logits = (rng.normal(size=(count, outputs)) * sharpness).round(draw(st.integers(0, 3)))
    if kind == "multiclass":
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = exponents / exponents.sum(axis=1, keepdims=True)
        labels = np.array([rng.choice(outputs, p=0.7 * row + 0.3 / outputs) for row in scores])
        return make(kind, scores, np.zeros_like(labels) if draw(st.booleans()) else labels)
    scores = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    found = (rng.random(scores.shape) < 0.7 * scores + 0.15).astype(float)
    found[rng.random(found.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = math.nan
    return make(kind, scores, found)


def cases_of(predictions: Predictions) -> list[tuple[float, bool]]:
    """Confidence and truth of each case, in plain Python."""
    scores, labels = predictions.scores.tolist(), predictions.labels.tolist()
    if predictions.task.kind == "multiclass":
        return [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(scores, labels, strict=True)
        ]
    pairs = [
        pair
        for row, some in zip(scores, labels, strict=True)
        for pair in zip(row, some, strict=True)
    ]
    return [(score, label == 1) for score, label in pairs if not math.isnan(label)]


def expected_error(cases: list[tuple[float, bool]], bins: int) -> float:
    """Guo's sum over bins (low, high], in plain Python."""
    total = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        some = [
            (score, true)
            for score, true in cases
            if (low < score <= high) or (place == 0 and score == 0)
        ]
        if some:
            confidence = math.fsum(score for score, _ in some) / len(some)
            share = sum(true for _, true in some) / len(some)
            total += len(some) / len(cases) * abs(confidence - share)
    return total


def log_odds(score: float) -> float:
    score = min(max(score, 1e-8), 1 - 1e-8)
    return math.log(score / (1 - score))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def intercept_of(cases: list[tuple[float, bool]]) -> float:
    """Where the likelihood's derivative changes its sign, by bisection."""
    odds = [(log_odds(score), true) for score, true in cases]
    low, high = -200.0, 200.0
    for _ in range(200):
        a = (low + high) / 2
        missing = [sigmoid(-a - x) if true else -sigmoid(a + x) for x, true in odds]
        if math.fsum(missing) > 0:
            low = a
        else:
            high = a
    return low


def slope_of(cases: list[tuple[float, bool]]) -> float:
    """A logistic regression by Newton's method with halved steps, in plain Python."""
    odds = [log_odds(score) for score, _ in cases]
    truths = [float(true) for _, true in cases]

    def loss(a: float, b: float) -> float:
        values = [a + b * x for x in odds]
        return math.fsum(
            max(v, 0) + math.log1p(math.exp(-abs(v))) - t * v
            for v, t in zip(values, truths, strict=True)
        )

    a = b = 0.0
    for _ in range(2000):
        p = [sigmoid(a + b * x) for x in odds]
        ga = math.fsum(q - t for q, t in zip(p, truths, strict=True))
        gb = math.fsum((q - t) * x for q, t, x in zip(p, truths, odds, strict=True))
        w = [q * (1 - q) for q in p]
        haa = math.fsum(w)
        hab = math.fsum(v * x for v, x in zip(w, odds, strict=True))
        hbb = math.fsum(v * x * x for v, x in zip(w, odds, strict=True))
        determinant = haa * hbb - hab * hab
        step = (hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant
        length, before = 1.0, loss(a, b)
        while length > 1e-10 and loss(a - length * step[0], b - length * step[1]) > before:
            length /= 2
        a, b = a - length * step[0], b - length * step[1]
        if max(map(abs, step)) < 1e-13:
            break
    return b


@settings(max_examples=examples(150), deadline=None)
@given(predictions=drawn(), bins=st.sampled_from([1, 10, 15]))
@pytest.mark.long
def test_calibration_equals_an_independent_implementation(
    predictions: Predictions, bins: int
) -> None:
    found = calibration(predictions, bins)
    assert found is not None
    json.dumps(found, allow_nan=False)
    cases = cases_of(predictions)
    assert found["cases"] == len(cases) == sum(each["cases"] for each in found["bins"])
    if not cases:
        assert found["ece"] is found["brier"] is found["log_loss"] is found["slope"] is None
        return
    assert found["ece"] == pytest.approx(expected_error(cases, bins), abs=1e-6)
    scores, labels = predictions.scores, predictions.labels
    if predictions.task.kind == "multiclass":
        places = list(range(scores.shape[1]))
        brier = np.mean(np.sum((scores - np.eye(len(places))[labels]) ** 2, axis=1))
        loss = sklearn_metrics.log_loss(labels, scores, labels=places)
    else:
        truth = np.array([true for _, true in cases])
        known = np.array([score for score, _ in cases])
        brier = sklearn_metrics.brier_score_loss(truth, known, labels=[False, True], pos_label=True)
        loss = sklearn_metrics.log_loss(truth, known, labels=[False, True])
    assert found["brier"] == pytest.approx(brier, abs=1e-9)
    assert found["log_loss"] == pytest.approx(loss, rel=1e-9, abs=1e-9)
    yes = [log_odds(score) for score, true in cases if true]
    no = [log_odds(score) for score, true in cases if not true]
    if not yes or not no:
        assert found["slope"] is found["intercept"] is None
        return
    assert found["intercept"] == pytest.approx(intercept_of(cases), rel=1e-6, abs=1e-6)
    if min(yes) >= max(no) or min(no) >= max(yes):
        assert found["slope"] is None
    else:
        assert found["slope"] == pytest.approx(slope_of(cases), rel=1e-6, abs=1e-6)


@settings(max_examples=examples(80), deadline=None)
@given(predictions=drawn())
@pytest.mark.long
def test_the_temperature_makes_the_log_loss_smallest(predictions: Predictions) -> None:
    found = fit_temperature(predictions)
    if found is None:
        return

    def loss(logarithm: float) -> float:
        scaled = calibration(with_temperature(predictions, math.exp(logarithm)))
        assert scaled is not None
        return float(scaled["log_loss"])

    middle = math.log(found)
    best = minimize_scalar(
        loss, bounds=(middle - 3, middle + 3), method="bounded", options={"xatol": 1e-9}
    )
    assert loss(middle) <= best.fun + 1e-9


def test_a_temperature_is_found_again() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(60_000, 3)) * 2
    exponents = np.exp(logits)
    true = exponents / exponents.sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((60_000, 1))).argmax(axis=1)
    sharp = np.exp(logits * 2)
    predictions = make("multiclass", sharp / sharp.sum(axis=1, keepdims=True), labels)
    temperature = fit_temperature(predictions)
    assert temperature == pytest.approx(2.0, rel=0.03)
    before, after = calibration(predictions), calibration(with_temperature(predictions, 2.0))
    assert before is not None
    assert after is not None
    assert before["slope"] < 0.7
    assert after["slope"] == pytest.approx(1, abs=0.06)
    assert after["intercept"] == pytest.approx(0, abs=0.05)
    assert after["ece"] < 0.01 < before["ece"]
    assert with_temperature(predictions, 2.0).scores == pytest.approx(true, abs=1e-12)


@settings(max_examples=examples(80), deadline=None)
@given(predictions=drawn(), temperature=st.floats(0.1, 10))
def test_a_temperature_changes_no_finding_and_keeps_probabilities(
    predictions: Predictions, temperature: float
) -> None:
    scaled = with_temperature(predictions, temperature)  # which refuses what is no probability
    if predictions.task.kind == "multilabel":
        assert (scaled.predicted == predictions.predicted).all()
    else:
        assert scaled.scores.sum(axis=1) == pytest.approx(np.ones(len(predictions)))
    same = with_temperature(predictions, 1.0)
    assert same.scores == pytest.approx(predictions.scores, abs=1e-12)


def test_a_finding_at_one_half_stays_predicted() -> None:
    below = float(np.nextafter(0.5, 0))
    predictions = make("multilabel", [[0.5, below]], [[1.0, 0.0]])
    for temperature in (0.5, 3.0, 50.0):
        scaled = with_temperature(predictions, temperature)
        assert scaled.predicted.tolist() == [[True, False]]


def test_what_has_no_temperature() -> None:
    right = make("multiclass", [[0.9, 0.1], [0.2, 0.8]], [0, 1])
    assert fit_temperature(right) is None  # the smaller the better
    no_better_than_chance = make("multiclass", [[0.9, 0.1], [0.9, 0.1]], [0, 1])
    assert fit_temperature(no_better_than_chance) is None
    assert fit_temperature(make("multilabel", [[0.9]], [[math.nan]])) is None
    assert fit_temperature(make("multiclass", np.zeros((0, 2)), np.zeros(0, dtype=int))) is None
    regression = make("regression", [[1.0]], [[2.0]])
    assert fit_temperature(regression) is None
    assert calibration(regression) is None
    with pytest.raises(ValueError, match="Only the probabilities of classes or findings"):
        with_temperature(regression, 2.0)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="A temperature must be a number above 0"):
            with_temperature(right, temperature)


def test_bins_hold_their_upper_limit() -> None:
    predictions = make("multilabel", [[0.0], [0.5], [0.51], [1.0]], [[0], [1], [0], [1]])
    found = calibration(predictions, 2)
    assert found is not None
    assert found["bins"] == [
        {"low": 0.0, "high": 0.5, "cases": 2, "confidence": 0.25, "share": 0.5},
        {"low": 0.5, "high": 1.0, "cases": 2, "confidence": 0.755, "share": 0.5},
    ]
    assert found["method"] == (
        "2 bins of equal width of the probability of each finding, compared with how many have it"
    )


def test_each_class_has_its_own_line() -> None:
    rng = np.random.default_rng(2)
    ill = rng.random(400) ** 2
    labels = (rng.random(400) < ill).astype(int)
    found = calibration(make("multiclass", np.stack([1 - ill, ill], axis=1), labels))
    assert found is not None
    cases = list(zip(ill.tolist(), (labels == 1).tolist(), strict=True))
    assert found["names"]["n1"] == {
        "ece": pytest.approx(expected_error(cases, 15)),
        "slope": pytest.approx(slope_of(cases)),
        "intercept": pytest.approx(intercept_of(cases)),
    }
    assert found["names"]["n0"]["intercept"] == pytest.approx(-found["names"]["n1"]["intercept"])


def test_calibration_is_among_the_metrics_that_have_intervals() -> None:
    predictions = make("multiclass", [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    assert compute_metrics(predictions, intervals=True)["calibration"] == calibration(predictions)
    assert "calibration" not in compute_metrics(predictions)
