from __future__ import annotations

from typing import Any

import numpy as np

from medpipe.evaluation.frozen import chosen_on_validation, results_of
from medpipe.evaluation.lines import class_lines, confusion_lines, metric_lines, result_lines
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from medpipe.registry.registry import Registry
from medpipe.settings import EvaluationSettings, OperatingPoint
from medpipe.steps import Task


def made(labels: Any, answers: Any, names: tuple[str, ...]) -> Predictions:
    scores = 0.4 * np.eye(len(names))[list(answers)] + 0.6 / len(names)
    return Predictions(
        task=Task(names=names),
        ids=tuple(f"s{row:04}" for row in range(len(scores))),
        scores=scores,
        labels=np.array(labels),
        groups=tuple(f"p{row // 2}" for row in range(len(scores))),
    )


NAMES = ("well", "a long name of a class")


def example() -> Predictions:
    return made([0] * 1200 + [1] * 40, [0] * 1190 + [1] * 30 + [0] * 20, NAMES)


def test_the_confusion_matrix() -> None:
    assert confusion_lines(compute_metrics(example()), NAMES) == [
        "confusion matrix:",
        "  true \\ predicted         well  a long name…",
        "  well                    1,190            10",
        "  a long name of a class     20            20",
    ]


def test_of_many_classes_the_mistakes_are_shown() -> None:
    names = tuple(f"c{place:02}" for place in range(13))
    answers = list(range(13)) * 3
    answers[0] = answers[13] = 5
    answers[1] = 2
    lines = confusion_lines(compute_metrics(made(list(range(13)) * 3, answers, names)), names)
    assert lines == [
        "most frequent mistakes, of 3:",
        "  2 x c00 answered c05",
        "  1 x c01 answered c02",
    ]
    right = compute_metrics(made(range(13), range(13), names))
    assert confusion_lines(right, names) == []


def test_the_table_by_class() -> None:
    table = {
        "well": {
            "images": 6,
            "cases": 4,
            "predicted": 1200,
            "sensitivity": 0.5,
            "specificity": None,
            "ppv": 1.0,
            "npv": 0.25,
            "intervals": {
                "sensitivity": [0.1234, 0.9],
                "specificity": None,
                "ppv": None,
                "npv": [0, 1],
            },
        }
    }
    assert class_lines(table) == [
        "by class, with 95 % intervals:",
        "        images  predicted          sensitivity  specificity    ppv                  npv",
        "  well       4      1,200  0.500 (0.123-0.900)    undefined  1.000  0.250 (0.000-1.000)",
    ]
    many = {f"c{place}": table["well"] for place in range(45)}
    assert class_lines(many)[-1] == "  and 5 more"
    assert len(class_lines(many)) == 43


def test_undefined_and_trivial_are_said() -> None:
    metrics = {
        "images": 4,
        "accuracy": 0.5,
        "auc": None,
        "intervals": {"accuracy": [0.25, 0.75], "auc": None},
        "baseline": {"accuracy": 0.4, "auc": None},
        "remarks": ["it is odd."],
    }
    assert metric_lines(metrics) == [
        "  accuracy             0.5000 (95 % interval 0.2500 to 0.7500); one answer for all: "
        "0.4000",
        "  auc                  undefined",
        "  Look at this: it is odd.",
    ]


def test_a_whole_result() -> None:
    point = OperatingPoint(class_=NAMES[1], sensitivity=0.4, prevalence=0.01)
    settings = EvaluationSettings(operating_point=point, unit="group")
    predictions = example()
    chosen = chosen_on_validation(predictions, settings)
    found = results_of(predictions, chosen, settings, metrics=(), registry=Registry.discover())
    lines = result_lines(found)
    places = [
        lines.index(next(line for line in lines if line.startswith(start)))
        for start in (
            "  accuracy             0.9758 (95 % interval ",
            "  confusion matrix:",
            "  by class, with 95 % intervals:",
            "  calibration: expected error 0.2758",
            "  operating point, a long name of a class at a probability of 0.7000 (sensitivity of ",
            "    sensitivity          0.500 (",
            "  by group (620 groups, the mean of the scores of its images):",
            "    accuracy ",
            "    operating point, a long name of a class at ",
            "  Look at this: ",
        )
    ]
    assert places == sorted(places)
    assert sum(line.endswith(" at a prevalence of 0.01") for line in lines) == 4
    assert any("; with the temperature 0.0" in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_regression_has_numbers_alone() -> None:
    predictions = Predictions(
        task=Task(kind="regression", names=("age",)),
        ids=tuple(map(str, range(60))),
        scores=np.arange(60.0)[:, None],
        labels=np.arange(60.0)[:, None] + np.resize([1.0, -1.0, 0.5], 60)[:, None],
        groups=(None,) * 60,
    )
    metrics = compute_metrics(predictions, intervals=True)
    assert metrics["baseline"]["mae"] > 14
    assert abs(metrics["baseline"]["r2"]) < 1e-9
    assert [line.split()[0] for line in result_lines(metrics)] == ["mae", "rmse", "r2"]


def test_a_calibration_slope_of_few_images_is_not_shown() -> None:
    rng = np.random.default_rng(0)
    for count, shown in ((99, False), (100, True)):
        labels = rng.integers(0, 2, count)
        first = np.clip(0.3 + 0.4 * labels + rng.normal(0, 0.2, count), 0.05, 0.95)
        some = Predictions(
            task=Task(names=("well", "ill")),
            ids=tuple(f"s{row:04}" for row in range(count)),
            scores=np.stack([1 - first, first], axis=1),
            labels=labels,
            groups=(None,) * count,
        )
        found = compute_metrics(some, intervals=True)
        assert found["calibration"]["slope"] is not None
        assert any("slope" in line for line in result_lines(found)) == shown
