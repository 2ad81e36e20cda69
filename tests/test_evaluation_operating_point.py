from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from medpipe.evaluation.by_group import by_group
from medpipe.evaluation.operating_point import (
    at_operating_point,
    choose_operating_point,
    found_at,
)
from medpipe.evaluation.predictions import Predictions
from medpipe.settings import OperatingPoint
from medpipe.steps import Task
from support.examples import examples


def make(kind: str, scores: Any, labels: Any, groups: Any = None) -> Predictions:
    scores = np.asarray(scores, dtype=float)
    return Predictions(
        task=Task(kind=kind, names=("well", "ill", "odd")[: scores.shape[1]]),
        ids=tuple(f"s{row:04}" for row in range(len(scores))),
        scores=scores,
        labels=labels,
        groups=groups or (None,) * len(scores),
    )


def two(ill: Any, labels: Any, groups: Any = None) -> Predictions:
    ill = np.asarray(ill, dtype=float)
    return make("multiclass", np.stack([1 - ill, ill], axis=1), np.asarray(labels), groups)


@st.composite
def drawn(draw: st.DrawFn) -> Predictions:
    """Predictions with ties and missing labels, of both kinds."""
    count = draw(st.integers(1, 30))
    steps = st.integers(0, 6).map(lambda step: step / 6)
    ill = draw(st.lists(steps, min_size=count, max_size=count))
    if draw(st.booleans()):
        labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
        return two(ill, np.array(labels))
    cells = st.sampled_from([0.0, 1.0, math.nan])
    findings = np.array(draw(st.lists(cells, min_size=2 * count, max_size=2 * count)))
    scores = np.stack([np.zeros(count), np.array(ill)], axis=1)
    return make("multilabel", scores, findings.reshape(count, 2))


def known(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    labels = predictions.labels
    truth = labels == 1 if labels.ndim == 1 else labels[:, 1] == 1
    there = np.full(len(truth), True) if labels.ndim == 1 else ~np.isnan(labels[:, 1])
    return truth[there], predictions.scores[there, 1]


@settings(max_examples=examples(200), deadline=None)
@given(predictions=drawn(), share=st.sampled_from([0.01, 0.5, 0.8, 0.95, 1.0]))
def test_no_other_threshold_is_better(predictions: Predictions, share: float) -> None:
    truth, scores = known(predictions)
    sensitive = choose_operating_point(predictions, OperatingPoint(class_="ill", sensitivity=share))
    threshold, yes, no = sensitive["threshold"], scores[truth], scores[~truth]
    if not len(yes):
        assert threshold is None
    else:
        assert (yes >= threshold).mean() >= share - 1e-9
        higher = [other for other in scores if other > threshold]
        assert all((yes >= other).mean() < share for other in higher)
        assert sensitive["validation"]["sensitivity"] == (yes >= threshold).mean()
    specific = choose_operating_point(predictions, OperatingPoint(class_="ill", specificity=share))
    threshold = specific["threshold"]
    if not len(no):
        assert threshold is None
        return
    assert (no < threshold).mean() >= share - 1e-9
    lower = [other for other in scores if other < threshold]
    assert all((no < other).mean() < share for other in lower)
    assert specific["validation"]["cases"] == len(yes)
    assert specific["validation"]["others"] == len(no)


def test_it_lies_on_scikit_learns_curve() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    ill = 1 / (1 + np.exp(-rng.normal(size=400) - 2 * (labels - 0.5)))
    for wanted in ({"sensitivity": 0.9}, {"specificity": 0.9}):
        chosen = choose_operating_point(two(ill, labels), OperatingPoint(class_="ill", **wanted))
        false, true, _ = roc_curve(labels, ill, drop_intermediate=False)
        reached = chosen["validation"]
        place = int(
            np.argmin(
                np.abs(true - reached["sensitivity"]) + np.abs(1 - false - reached["specificity"])
            )
        )
        assert true[place] == pytest.approx(reached["sensitivity"], abs=1e-12)
        assert 1 - false[place] == pytest.approx(reached["specificity"], abs=1e-12)
        best = (true[true >= 0.9][0], (1 - false)[1 - false >= 0.9][-1])
        assert min(reached.values()) > 0
        name, share = next(iter(wanted.items()))
        assert reached[name] == pytest.approx(best[name == "specificity"])
        assert reached[name] >= share


def test_the_threshold_is_kept_for_other_images() -> None:
    validation = two([0.1, 0.2, 0.3, 0.4, 0.6, 0.7], [0, 0, 0, 1, 1, 1])
    point = OperatingPoint(class_="ill", sensitivity=0.6, prevalence=0.01)
    chosen = choose_operating_point(validation, point)
    assert chosen == {
        "class": "ill",
        "wanted": "sensitivity",
        "at_least": 0.6,
        "prevalence": 0.01,
        "threshold": 0.6,
        "validation": {
            "cases": 3,
            "others": 3,
            "sensitivity": pytest.approx(2 / 3),
            "specificity": 1.0,
        },
    }
    test = two([0.61, 0.59, 0.9, 0.6, 0.2, 0.1, 0.0, 0.3], [1, 1, 1, 1, 0, 0, 0, 0])
    worse = attrs.evolve(test, labels=np.array([1, 1, 1, 0, 0, 0, 0, 1]))
    found = at_operating_point(worse, chosen)
    assert found["threshold"] == 0.6
    assert (found["cases"], found["predicted"]) == (4, 3)
    assert (found["sensitivity"], found["specificity"]) == (0.5, 0.75)
    assert (found["ppv"], found["npv"]) == (pytest.approx(2 / 3), 0.6)
    wilson = binomtest(3, 4).proportion_ci(method="wilson")
    assert found["intervals"]["specificity"] == pytest.approx([wilson.low, wilson.high])
    ppv = 0.5 * 0.01 / (0.5 * 0.01 + 0.25 * 0.99)
    npv = 0.75 * 0.99 / (0.75 * 0.99 + 0.5 * 0.01)
    more = found["at_prevalence"]
    assert (more["ppv"], more["npv"]) == (pytest.approx(ppv), pytest.approx(npv))
    for name in ("ppv", "npv"):
        low, high = more["intervals"][name]
        assert low < more[name] < high
    at_own = dict(chosen, prevalence=0.5)  # as frequent as in these images
    same = at_operating_point(worse, at_own)
    assert same["at_prevalence"]["ppv"] == pytest.approx(same["ppv"])
    assert same["at_prevalence"]["npv"] == pytest.approx(same["npv"])
    assert found_at(worse.scores, worse.task.names, chosen).tolist() == [
        True, False, True, True, False, False, False, False,
    ]  # fmt: skip


def test_what_has_no_operating_point() -> None:
    regression = make("regression", [[1.0]], [[2.0]])
    point = OperatingPoint(class_="well", sensitivity=0.9)
    with pytest.raises(ValueError, match=r"regression \(well\) has no class or finding 'well'"):
        choose_operating_point(regression, point)
    with pytest.raises(ValueError, match="has no class or finding 'odd'"):
        choose_operating_point(two([0.5], [1]), OperatingPoint(class_="odd", specificity=1))


def test_a_patient_is_what_its_images_are_on_average() -> None:
    predictions = two([0.2, 0.4, 0.9, 0.1], [0, 0, 1, 0], ("p", "p", None, "q"))
    together, left_out = by_group(predictions)
    assert together.ids == ("group:p", "group:q", "image:s0002")
    assert together.scores[:, 1] == pytest.approx([0.3, 0.1, 0.9])
    assert together.labels.tolist() == [0, 0, 1]
    assert left_out == 0


def test_a_patient_is_ill_if_one_image_is() -> None:
    predictions = two([0.2, 0.4, 0.8, 0.1], [0, 1, 0, 0], ("p", "p", "q", "q"))
    together, left_out = by_group(predictions, "highest", "ill")
    assert together.scores[:, 1] == pytest.approx([0.4, 0.8])
    assert together.labels.tolist() == [1, 0]
    assert left_out == 0
    mixed, left_out = by_group(predictions)
    assert mixed.ids == ("group:q",)
    assert left_out == 1


def test_findings_of_a_patient() -> None:
    nan = math.nan
    scores = [[0.2, 0.9], [0.6, 0.1], [0.3, 0.3]]
    labels = [[nan, 0.0], [1.0, 0.0], [nan, nan]]
    predictions = make("multilabel", scores, labels, ("p", "p", "q"))
    together, _ = by_group(predictions, "highest")
    assert together.scores.tolist() == [[0.6, 0.9], [0.3, 0.3]]
    np.testing.assert_array_equal(together.labels, [[1.0, 0.0], [nan, nan]])
    together, _ = by_group(predictions)
    np.testing.assert_allclose(together.scores, [[0.4, 0.5], [0.3, 0.3]])


def test_targets_of_a_patient() -> None:
    predictions = make(
        "regression", [[1.0], [3.0], [5.0]], [[2.0], [math.nan], [math.nan]], ("p", "p", "q")
    )
    together, _ = by_group(predictions)
    assert together.scores.tolist() == [[2.0], [5.0]]
    np.testing.assert_array_equal(together.labels, [[2.0], [math.nan]])
    for class_ in (None, "well"):
        with pytest.raises(ValueError, match='group_scores = "highest" needs findings'):
            by_group(predictions, "highest", class_)


@settings(max_examples=examples(50), deadline=None)
@given(predictions=drawn(), data=st.data())
def test_the_order_of_samples_changes_no_group(predictions: Predictions, data: Any) -> None:
    groups = tuple(data.draw(st.sampled_from([None, "p", "q"])) for _ in predictions.ids)
    grouped = attrs.evolve(predictions, groups=groups)
    order = data.draw(st.permutations(range(len(predictions))))
    one, two_ = by_group(grouped)[0], by_group(grouped.taken(order))[0]
    assert one.ids == two_.ids
    np.testing.assert_array_equal(one.scores, two_.scores)
    np.testing.assert_array_equal(one.labels, two_.labels)
