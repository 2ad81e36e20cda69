"""Metrics of segmentations: what they average, intervals, tables, remarks, and sections."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.builtin.segmentation.metrics import (
    Dice,
    FalsePositiveShare,
    HausdorffDistance95,
    SurfaceDice,
    VolumeError,
)
from medpipe.checks.evaluation_check import check_evaluation
from medpipe.evaluation.lines import result_lines
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from medpipe.plugin import MetricStep, ReportContext, Segmentation, Task
from medpipe.report.results import metric_rows
from medpipe.settings import EvaluationSettings

Array = np.ndarray[Any, np.dtype[Any]]

NAN = math.nan
TASK = Task(kind=Segmentation(), names=("a", "b"))
ALL = (Dice(), SurfaceDice(), HausdorffDistance95(), VolumeError(), FalsePositiveShare())
CASES = settings(max_examples=40, deadline=None, derandomize=True)


def predictions(
    scores: Any, labels: Any, groups: Any = None, units: tuple[str, ...] = ()
) -> Predictions:
    count = len(scores)
    return Predictions(
        task=TASK,
        ids=tuple(f"case{row:03}" for row in range(count)),
        scores=np.array(scores, dtype=float).reshape(count, 8),
        labels=labels,
        groups=(None,) * count if groups is None else groups,
        units=units,
    )


FOUND, MISSED = [0.5, 0.75, 2.0, 12.0], [0, 0, NAN, 0]
ABSENT, INVENTED = [NAN, NAN, NAN, 0], [NAN, NAN, NAN, 3.0]


def measured(some: Predictions) -> dict[str, Any]:
    return compute_metrics(some, metrics=ALL)


def test_what_is_averaged_depends_on_the_reference_alone() -> None:
    some = predictions(
        [[FOUND, ABSENT], [MISSED, INVENTED], [[1, 1, 0, 10.0], [0.5, 0, 7, 5.0]]],
        [[10.0, 0.0], [10.0, 0.0], [10.0, 10.0]],
    )
    found = measured(some)
    assert found["dice"] == (0.5 + 0.5) / 2  # of a: .5, 0, 1; of b: .5
    assert found["nsd"] == pytest.approx((1.75 / 3 + 0) / 2)
    assert found["hd95"] == (2.0 + 7.0) / 2  # of a the median of 2, infinite, 0
    assert found["volume_error"] == pytest.approx(((0.2 + 1 + 0) / 3 + 0.5) / 2)
    assert found["false_positive_share"] == 0.5  # of b; a is in all
    structures = found["structures"]
    assert [structures["a"][key] for key in ("cases", "missed", "absent", "invented")] == [
        3,
        1,
        0,
        0,
    ]
    assert [structures["b"][key] for key in ("cases", "missed", "absent", "invented")] == [
        1,
        0,
        2,
        1,
    ]
    assert structures["b"]["invented_volume"] == 3.0


def test_what_is_not_annotated_counts_nowhere() -> None:
    one = predictions([[FOUND, ABSENT]], [[10.0, 0.0]])
    more = predictions([[FOUND, ABSENT], [MISSED, INVENTED]], [[10.0, 0.0], [NAN, NAN]])
    for name in ("dice", "nsd", "hd95", "volume_error", "false_positive_share"):
        assert measured(one)[name] == measured(more)[name]


def test_the_hd95_is_undefined_where_most_cases_are_missed() -> None:
    labels = [[10.0, 0.0]] * 3
    assert measured(predictions([[FOUND, ABSENT]] * 2 + [[MISSED, ABSENT]], labels))["hd95"] == 2
    most = predictions([[FOUND, ABSENT]] + [[MISSED, ABSENT]] * 2, labels)
    found = compute_metrics(most, intervals=True)
    assert found["hd95"] is None
    assert "undefined on these images: hd95." in found["remarks"]


def test_what_was_not_measured_is_undefined() -> None:
    quick = [[0.5, NAN, NAN, 12.0], ABSENT]
    found = measured(predictions([quick], [[10.0, 0.0]]))
    assert (found["dice"], found["nsd"], found["hd95"]) == (0.5, None, None)


shares = st.floats(0, 1)
structures = st.tuples(shares, shares, st.floats(0, 50), st.floats(0.5, 30))


@st.composite
def results(draw: st.DrawFn) -> Predictions:
    count = draw(st.integers(2, 9))
    labels = draw(
        st.lists(
            st.tuples(*[st.sampled_from((0.0, 5.0, 20.0, NAN))] * 2),
            min_size=count,
            max_size=count,
        )
    )
    scores = []
    for row in labels:
        each = []
        for volume in row:
            one = list(draw(structures))
            each.append(one if volume > 0 else [NAN, NAN, NAN, one[3]])
        scores.append(each)
    groups = draw(st.lists(st.sampled_from("pqr"), min_size=count, max_size=count))
    return predictions(scores, labels, groups)


@CASES
@given(some=results(), data=st.data())
def test_a_missed_structure_never_improves_a_mean(some: Predictions, data: st.DataObject) -> None:
    there = np.argwhere(some.labels > 0)
    if not len(there):
        return
    row, place = there[data.draw(st.integers(0, len(there) - 1))]
    worse = some.scores.copy().reshape(len(some), 2, 4)
    worse[row, place] = MISSED
    missed = predictions(worse, some.labels, some.groups)
    before, after = measured(some), measured(missed)
    for step in ALL[:3]:
        if after[step.name] is None:
            assert step.name == "hd95"
        else:
            sign = 1 if step.direction == "max" else -1
            assert sign * after[step.name] <= sign * before[step.name] + 1e-12
    assert after["false_positive_share"] == before["false_positive_share"]


@CASES
@given(some=results(), data=st.data())
def test_the_order_changes_nothing(some: Predictions, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(some))))
    one, other = (
        compute_metrics(given, metrics=ALL, intervals=True)
        for given in (some, some.taken(list(order)))
    )
    assert json.dumps(one, allow_nan=False) == json.dumps(other, allow_nan=False)


@CASES
@given(some=results(), data=st.data())
@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
def test_weights_are_so_many_equal_cases(
    step: MetricStep, some: Predictions, data: st.DataObject
) -> None:
    count = len(some)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    rows = step.rows(some.scores, some.labels, TASK)
    (found,) = step.statistic(rows, TASK)(np.array(weights, dtype=float)[:, None])
    places = np.repeat(np.arange(count), weights)
    expected = step.value(rows[places], TASK, {})
    assert found == pytest.approx(NAN if expected is None else expected, nan_ok=True)


@CASES
@given(some=results())
def test_the_headline_is_the_mean_of_the_table(some: Predictions) -> None:
    found = compute_metrics(some, metrics=ALL, intervals=True)
    for step in ALL:
        each = [one[step.name] for one in found["name_table"].values()]
        if step.name != "hd95" or None not in each:
            known = [value for value in each if value is not None]
            mean = sum(known) / len(known) if known else None
            assert found[step.name] == (None if mean is None else pytest.approx(mean))


def many(count: int = 40) -> Predictions:
    random = np.random.default_rng(0)
    scores = random.uniform(0.2, 0.9, (count, 2, 4))
    scores[::4, 1] = MISSED
    labels = np.ones((count, 2))
    labels[1::4, 1] = 0
    scores[1::4, 1, :3] = NAN
    return predictions(scores, labels, [f"p{row // 2}" for row in range(count)])


def test_each_structure_has_its_intervals_by_patient() -> None:
    some = many()
    found = compute_metrics(some, metrics=ALL, intervals=True)
    table = found["name_table"]
    low, high = table["a"]["intervals"]["dice"]
    assert low < table["a"]["dice"] < high
    assert table["a"]["false_positive_share"] is None
    low, high = table["b"]["intervals"]["false_positive_share"]
    assert low < table["b"]["false_positive_share"] == 1.0 == high
    without = Predictions(
        task=TASK, ids=some.ids, scores=some.scores, labels=some.labels, groups=[None] * len(some)
    )
    assert compute_metrics(without, intervals=True)["name_table"]["a"]["intervals"] != {
        key: value for key, value in table["a"]["intervals"].items() if key in found
    }
    assert "20 groups" in found["interval_method"]


def test_the_worst_cases_are_named_first() -> None:
    some = many()
    worst = compute_metrics(some, intervals=True)["worst_cases"]
    rows = Dice().rows(some.scores, some.labels, TASK)
    means = np.nanmean(rows, axis=1)
    assert [case["id"] for case in worst] == [some.ids[row] for row in means.argsort()[:5]]
    assert worst[0]["value"] == pytest.approx(means.min())
    assert set(worst[0]["names"]) == {"a", "b"}


def test_the_terminal_has_a_line_for_each_structure_and_the_worst_cases() -> None:
    found = compute_metrics(many(), intervals=True)
    lines = result_lines(found)
    (start,) = [place for place, line in enumerate(lines) if "by structure, with 95 %" in line]
    assert lines[start + 1].split() == [
        *("cases", "missed", "invented", "dice", "nsd", "hd95", "volume", "error"),
    ]
    assert lines[start + 3].split()[:6] == ["b", "30", "10", "10", "of", "10"]
    assert lines[start + 4] == "  worst cases:"
    assert lines[start + 5].split()[:2] == [
        found["worst_cases"][0]["id"],
        f"{found['worst_cases'][0]['value']:.3f}",
    ]


@pytest.mark.parametrize(
    ("units", "unit", "volume"),
    [
        ((), None, "0 mm3 never"),
        (("mm", "mm"), "mm", "on average 3 mm3 (in 2-D mm2): no mean says so"),
        (("pixels", "pixels"), "pixels", "on average 3 pixels: no mean says so"),
        (("voxels", "mm"), "mm or voxels", "on average 3 mm or voxels: no mean says so"),
    ],
)
def test_lengths_and_volumes_have_the_unit_of_the_files(
    units: tuple[str, ...], unit: str | None, volume: str
) -> None:
    some = predictions([[FOUND, FOUND], [FOUND, INVENTED]], [[9, 9], [9, 0]], units=units)
    found = compute_metrics(some, intervals=True)
    assert (found.get("unit"), found.get("units")) == (unit, {"hd95": unit} if unit else None)
    assert [remark for remark in found["remarks"] if volume in remark] or unit is None
    mixed = [remark for remark in found["remarks"] if "some files have no spacing" in remark]
    assert len(mixed) == (len(set(units)) > 1)
    title = f"hd95 ({unit})" if unit else "hd95"
    shown = [line for line in result_lines(found) if "hd95" in line and "Look" not in line]
    assert [title in line for line in shown] == [True, True]
    assert metric_rows(found, ["dice", "hd95"])[1][0] == title
    context = ReportContext(
        output=Path(),
        split="test",
        names=TASK.names,
        unit=some.unit,
        scores=some.scores,
        labels=some.labels,
        metrics=found,
    )
    (section,) = TASK.step.report_sections(context)
    assert title in section.tables[0].columns


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([[FOUND, MISSED]], [[10.0, 10.0]], "'b' is never found, of 1 case."),
        ([[FOUND, MISSED], [FOUND, FOUND]], [[9, 9], [9, 9]], "'b' is missed in 1 of 2 cases"),
        (
            [[FOUND, INVENTED], [FOUND, ABSENT]],
            [[9, 0], [9, 0]],
            "'b' is predicted in 1 of 2 cases without it, on average 3",
        ),
        ([[FOUND, ABSENT]], [[9, 0]], "no case has 'b': it is left out of all means."),
        ([[FOUND, ABSENT]], [[9, NAN]], "'b' is annotated in no case"),
        ([[FOUND, FOUND]], [[9, 9]], "with fewer than 10 cases a Dice is hardly known: 'a' (1)"),
        ([[[1, 1, 0, 9], ABSENT]], [[9, 0]], "all masks are exactly right."),
        ([[FOUND, FOUND]] * 2, [[9, 9]] * 2, "no groups (patients) are known, so intervals are"),
    ],
)
def test_remarks_say_what_no_mean_says(scores: Any, labels: Any, said: str) -> None:
    remarks = compute_metrics(predictions(scores, labels), intervals=True)["remarks"]
    assert any(remark.startswith(said) for remark in remarks), remarks


def test_a_good_result_has_no_remarks_but_those_on_its_number() -> None:
    random = np.random.default_rng(0)
    count = 60
    scores = random.uniform(0.5, 0.9, (count, 2, 4))
    some = predictions(scores, np.ones((count, 2)), [f"p{row}" for row in range(count)])
    assert "remarks" not in compute_metrics(some, intervals=True)


def context(some: Predictions, *, paths: bool) -> ReportContext:
    return ReportContext(
        output=Path(),
        split="test",
        names=TASK.names,
        unit=None,
        scores=some.scores,
        labels=some.labels,
        metrics=compute_metrics(some, intervals=True),
        paths=paths,
    )


def test_the_report_has_the_table_the_distribution_and_the_worst_cases() -> None:
    some = many()
    (section,) = TASK.step.report_sections(context(some, paths=True))
    table, worst = section.tables
    assert [row[:4] for row in table.rows] == [["a", 40, 0, ""], ["b", 30, 10, "10 of 10"]]
    assert worst.rows[0][0] == context(some, paths=True).metrics["worst_cases"][0]["id"]
    (figure,) = section.figures.values()
    drawn = [len(line.get_xdata()) for line in figure.axes[0].get_lines()]  # type: ignore[arg-type]
    assert drawn == [40, 30]
    (without,) = TASK.step.report_sections(context(some, paths=False))
    assert len(without.tables) == 1
    assert without.text == ["The worst cases are not named."]


def test_groups_are_no_unit_of_a_segmentation() -> None:
    problems, _ = check_evaluation(EvaluationSettings(unit="group"), TASK, [], grouped=True)
    assert [problem.path for problem in problems] == ["evaluation.unit"]
    assert not check_evaluation(EvaluationSettings(), TASK, [], grouped=True)[0]
