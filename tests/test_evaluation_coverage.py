"""What intervals are worth: laws of their methods, and a small simulation with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.coverage import COMPARED, Network, cells, measured, outside, summary, tables
from benchmarks.coverage_sets import Cell, attainable, drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, t

from medpipe.evaluation.comparison import difference, paired_differences
from medpipe.evaluation.intervals import (
    logit_interval,
    mean_proportion_interval,
    proportion_interval,
    standard_error,
)
from medpipe.evaluation.metrics import compute_metrics
from support.simulated import predictions_of


def ones(count: int) -> np.ndarray:
    return np.ones(count)


def test_a_proportion_in_groups_by_hand() -> None:
    """Four patients of two images: two right, one, two, none."""
    right = np.array([1, 1, 1, 0, 1, 1, 0, 0.0])
    places = np.repeat(np.arange(4), 2)
    found = proportion_interval(right, ones(8), places)
    share = 5 / 8
    residuals = np.array([2, 1, 2, 0]) - 2 * share
    variance = 4 / 3 * (residuals**2).sum() / 8**2
    effect, assumed = 8 * variance / (share * (1 - share)), 1 + (2 - 1) * 0.4
    trials = 8 / ((3 * effect + 5 * assumed) / (3 + 5))
    square = 1.959964**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half *= 1.959964 / (1 + square / trials)
    assert found == pytest.approx([middle - half, middle + half], rel=1e-6)


def test_only_what_counts_is_counted() -> None:
    right = np.array([1, 0, 1, 1, 0.0])
    counted = np.array([1, 1, 1, 0, 0.0])
    expected = binomtest(2, 3).proportion_ci(0.95, method="wilson")
    found = proportion_interval(right, counted, np.array([0, 1, 2, 0, 3]))
    assert found == pytest.approx([expected.low, expected.high])
    assert proportion_interval(right, np.zeros(5), np.arange(5)) is None


def test_groups_that_agree_less_than_by_chance_are_worth_no_more_than_their_samples() -> None:
    """Each of 30 patients has one image right and one wrong: 60 images, not thousands."""
    right = np.tile([1.0, 0.0], 30)
    found = proportion_interval(right, ones(60), np.repeat(np.arange(30), 2))
    expected = binomtest(30, 60).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx([expected.low, expected.high])


def test_of_few_groups_the_design_effect_is_mostly_assumed() -> None:
    """Two patients of four images who happen to agree are not eight independent images."""
    right = np.tile([1.0, 1.0, 1.0, 0.0], 50)
    places = np.repeat(np.arange(50), 4)
    few = proportion_interval(right[:8], ones(8), places[:8])
    many = proportion_interval(right, ones(200), places)
    apart = [binomtest(3 * n, 4 * n).proportion_ci(0.95, method="wilson") for n in (2, 50)]
    assert few is not None
    assert few[0] < apart[0].low - 0.04
    assert many == pytest.approx([apart[1].low, apart[1].high])


def test_one_group_is_no_evidence_but_where_all_is_right() -> None:
    places = np.zeros(3, np.int64)
    assert proportion_interval(np.array([1, 1, 0.0]), ones(3), places) is None
    expected = binomtest(1, 1).proportion_ci(0.95, method="wilson")
    found = proportion_interval(ones(3), ones(3), places)
    assert found == pytest.approx([expected.low, 1.0])


def test_the_mean_of_independent_proportions() -> None:
    """Each limit is as far away as Pythagoras has it."""
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(40), 3)
    right = (rng.random((120, 2)) < 0.8).astype(float)
    counted = np.stack([places < 15, places >= 15], axis=1).astype(float)
    shares = (right * counted).sum(axis=0) / counted.sum(axis=0)
    limits = [proportion_interval(right[:, k], counted[:, k], places) for k in (0, 1)]
    (low, high), (low_2, high_2) = (limit or [0, 0] for limit in limits)
    found = mean_proportion_interval(right, counted, places)
    assert found == pytest.approx(
        [
            shares.mean() - math.hypot(shares[0] - low, shares[1] - low_2) / 2,
            shares.mean() + math.hypot(shares[0] - high, shares[1] - high_2) / 2,
        ]
    )


def test_the_mean_of_a_proportion_with_itself_is_the_proportion() -> None:
    """It is known no better for being there twice: what varies together does not cancel."""
    rng = np.random.default_rng(1)
    right = (rng.random(90) < 0.7).astype(float)[:, None].repeat(2, axis=1)
    places = np.repeat(np.arange(30), 3)
    found = mean_proportion_interval(right, np.ones((90, 2)), places)
    assert found == pytest.approx(proportion_interval(right[:, 0], ones(90), places))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=30)
)
def test_intervals_hold_their_proportion_and_stay_between_0_and_1(
    samples: list[tuple[int, bool, bool]],
) -> None:
    group, right, first = np.array(samples).T
    places = np.unique(group, return_inverse=True)[1]
    right = right.astype(float)
    counted = np.stack([first, 1 - first], axis=1).astype(float)
    whole = proportion_interval(right, ones(len(right)), places)
    if whole is not None:
        assert 0 <= whole[0] <= right.mean() <= whole[1] <= 1
    halves = mean_proportion_interval(np.stack([right, right], axis=1), counted, places)
    if halves is not None:
        shares = [right[one > 0].mean() for one in counted.T if one.any()]
        assert 0 <= halves[0] <= np.mean(shares) + 1e-12
        assert np.mean(shares) - 1e-12 <= halves[1] <= 1


def test_an_interval_on_the_logit_scale_by_hand() -> None:
    left_out = np.array([0.8, 0.82, 0.79, 0.85, 0.81])
    error, freedom = standard_error(left_out)
    squares = (left_out - left_out.mean()) ** 2
    assert error == pytest.approx(math.sqrt(4 / 5 * squares.sum()))
    assert freedom == pytest.approx(
        0.8 * 2 * squares.sum() ** 2 / ((squares**2).sum() - squares.sum() ** 2 / 5)
    )
    half = t.ppf(0.975, freedom) * error / (0.81 * 0.19)
    point = math.log(0.81 / 0.19)
    assert logit_interval(0.81, left_out) == pytest.approx(
        [1 / (1 + math.exp(half - point)), 1 / (1 + math.exp(-half - point))]
    )


@pytest.mark.parametrize(
    ("value", "left_out"),
    [
        (None, [0.5, 0.6]),
        (1.0, [1.0, 0.9]),
        (0.0, [0.0, 0.1]),
        (0.5, [0.5, math.nan, 0.4]),
        (0.5, [0.5, 0.5]),
        (0.5, [0.5]),
    ],
)
def test_without_a_standard_error_there_is_no_interval(
    value: float | None, left_out: list[float]
) -> None:
    assert logit_interval(value, np.array(left_out)) is None


def test_a_group_that_decides_alone_makes_the_interval_wide() -> None:
    even = np.array([0.79, 0.81] * 20)
    one = np.full(40, 0.8)
    one[0] = 0.8 + (even - 0.8).std() * math.sqrt(40)
    assert standard_error(one)[0] == pytest.approx(standard_error(even)[0], rel=0.05)
    assert standard_error(one)[1] < 3
    assert standard_error(even)[1] > 1000


@pytest.mark.parametrize("cell", [Cell(10, 0.3, 0.8), Cell(60, 0.5, 0.9)])
def test_the_simulation_measures_what_the_library_gives(cell: Cell) -> None:
    for one in drawn(cell, 3, seed=1):
        networks = [Network(one, scores) for scores in one.scores]
        first, _, third = (predictions_of(one, scores) for scores in one.scores)
        found = compute_metrics(first, intervals=True)
        gaps = paired_differences(first, third)
        for name in COMPARED:
            assert networks[0].values[name] == pytest.approx(found[name])
            assert networks[0].intervals()[name] == pytest.approx(found["intervals"][name])
            gap = difference(
                (networks[0].values[name], networks[2].values[name]),
                (networks[0].left_out[name], networks[2].left_out[name]),
            )
            assert gap.interval == pytest.approx(gaps[name].interval)


def test_images_that_are_taken_for_patients_make_intervals_too_narrow() -> None:
    """400 sets of 60 patients with 1 to 7 images each, whose truth is known."""
    found = measured(Cell(60, 0.5, 0.8), 400, percentiles_every=400)
    for name in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc"):
        own = found["own"][name]
        assert own["given"] == 400
        assert own["holding"] + own["below"] + own["above"] == 400
        assert found["perfect"][name] == 0
        # 95 % less or more three standard errors of 1.1 %
        assert 0.917 <= found["own"][name]["holding"] / 400 <= 0.983, name
        assert found["ignored"][name]["holding"] / 400 < 0.88, name
    for name in COMPARED:
        assert found["equal"][name] <= 0.083 * 400
        assert found["better"][name] > 300


def test_the_table_has_a_line_for_each_cell() -> None:
    rows = [measured(cell, 5) for cell in cells((10,), (0.3, 0.5), (0.8,))]
    lines = tables(rows).splitlines()
    assert sum(line.startswith("| 10 | 0.3 | 0.8 | ") for line in lines) == 5
    assert sum(line.startswith("| 10 | 0.5 | 0.8 | ") for line in lines) == 5
    assert [line.split(" | ")[:2] for line in summary(rows, (0.3, 0.5)).splitlines()[2:]] == [
        ["| 10", "medpipe's"],
        ["| 10", "groups ignored"],
        ["| 10", "percentiles of the bootstrap"],
    ]


def test_what_lies_outside_is_listed_with_where_the_truth_is() -> None:
    own = {"sets": 400, "given": 300, "holding": 294, "below": 0, "above": 6}
    fine = {"sets": 400, "given": 400, "holding": 380, "below": 10, "above": 10}
    rows = [
        {"groups": groups, "prevalence": 0.1, "accuracy": 0.99}
        | {"own": {**dict.fromkeys(("accuracy", "sensitivity", "specificity"), fine)}}
        | {"perfect": {"auc": 100}}
        for groups in (20, 50)
    ]
    for row in rows:
        row["own"] |= {"balanced_accuracy": fine, "auc": own}
    assert outside(rows).splitlines()[2:] == [
        "| 50 | 0.1 | 0.99 | AUC | 98.0 (0.8) | 0.0 | 2.0 | 25.0 |"
    ]


@pytest.mark.parametrize(("samples", "accuracy"), [(50, 0.99), (20, 0.95), (200, 0.99)])
def test_what_intervals_can_reach_is_the_chance_of_so_many_errors(
    samples: int, accuracy: float
) -> None:
    """By Wilson's own: it holds the truth for 0 to k errors, since 0 are common."""
    holding = 0.0
    for errors in range(samples + 1):
        one = binomtest(samples - errors, samples).proportion_ci(0.95, method="wilson")
        if one.low <= accuracy <= one.high:
            holding += binom.pmf(errors, samples, 1 - accuracy)
    below, above = attainable(samples, accuracy) or (1, 0)
    assert below < 0.95 <= above
    assert holding in (pytest.approx(below), pytest.approx(above))
    assert attainable(samples, 0.7) is None
