"""Metrics of a plugin: their values, intervals, and errors that name them."""

from __future__ import annotations

import types
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest

import medpipe
from medpipe.builtin.counting import once
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from medpipe.plugin import MetricStep, Task, hookimpl

Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Brier(MetricStep):
    """The squared error of the probabilities."""

    name: ClassVar[str] = "brier"
    direction: ClassVar[Literal["max", "min"]] = "min"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    fails: str = ""

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        if self.fails == "rows":
            raise ZeroDivisionError("nothing to divide by")
        if self.fails == "type":
            return labels == 0
        if self.fails == "count":
            return np.zeros(3)
        return ((scores - np.eye(len(task.names))[labels]) ** 2).sum(axis=1)

    def statistic(self, rows: Array, task: Task) -> Any:
        if self.fails == "shape":
            return lambda weights: np.zeros(5)
        return super().statistic(rows, task)


def predictions(count: int = 200) -> Predictions:
    random = np.random.default_rng(0)
    scores = random.dirichlet((1.0, 1.0, 1.0), count)
    return Predictions(
        task=Task(names=("a", "b", "c")),
        ids=tuple(f"{row:04}" for row in range(count)),
        scores=scores,
        labels=random.integers(0, 3, count),
        groups=tuple(f"p{row // 2}" for row in range(count)),
        extra={"sex": tuple("fm"[row % 2] for row in range(count))},
    )


def test_a_mean_over_cases_gets_its_interval_and_subgroups() -> None:
    some = predictions()
    found = compute_metrics(some, metrics=[Brier()], intervals=True, subgroups=True)
    expected = ((some.scores - np.eye(3)[some.labels]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(expected, rel=1e-12)
    low, high = found["intervals"]["brier"]
    assert low < expected < high
    assert set(found["subgroups"]["sex"]) == {"f", "m"}
    for table in found["subgroups"]["sex"].values():
        assert 0 < table["brier"] < 2
        assert len(table["intervals"]["brier"]) == 2
    without = compute_metrics(some, intervals=True)
    others = ("intervals", "interval_method", "subgroups")
    assert {name: found[name] for name in without if name not in others} == {
        name: value for name, value in without.items() if name not in others
    }


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("rows", "failed: ZeroDivisionError: nothing to divide by"),
        ("count", "gives rows of shape (3,) for 200 cases. Give an array of floats with a row"),
        ("type", "gives rows of shape (200,) and type bool for 200 cases. Give an array of floats"),
        ("shape", "failed: ValueError: its statistic gives the shape (5,) for 1 resample"),
    ],
)
def test_one_that_fails_is_named_with_its_plugin(fails: str, message: str) -> None:
    @hookimpl
    def medpipe_metrics() -> list[type[MetricStep]]:
        return [Brier]

    plugin = types.SimpleNamespace(medpipe_metrics=medpipe_metrics)
    registry = medpipe.Registry.discover().with_plugin(plugin, name="medpipe-brier")
    with pytest.raises(medpipe.StepError) as caught:
        compute_metrics(predictions(), metrics=[Brier(fails=fails)], registry=registry)
    assert "the metric step 'brier' (medpipe-brier)" in str(caught.value)
    assert message in str(caught.value)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(medpipe.ConfigError, match=r"metric\[1\]: there is a metric 'auc' already"):
        medpipe.PipelineBuilder().metrics("auc", "auc").build()


def test_what_is_kept_lives_as_long_as_the_array() -> None:
    calls = []

    @once
    def doubled(values: Array) -> Array:
        calls.append(1)
        return 2 * values

    values = np.arange(3)
    assert doubled(values) is doubled(values)
    assert len(calls) == 1
    for _ in range(50):  # other arrays may get the address of one that is gone
        fresh = np.random.default_rng(len(calls)).random(3)
        np.testing.assert_array_equal(doubled(fresh), 2 * fresh)
        del fresh
    assert len(calls) == 51
