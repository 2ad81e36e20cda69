"""What a step class says of itself is one of the values that the library knows."""

from __future__ import annotations

from typing import Any, cast

import attrs
import numpy as np
import pytest

import medpipe
from medpipe.builtin.losses import CrossEntropy
from medpipe.builtin.metrics import Accuracy
from medpipe.builtin.networks import ResNet18
from medpipe.builtin.optimizers import AdamW
from medpipe.builtin.schedules import Constant
from medpipe.evaluation.metrics import compute_metrics, metrics_of
from medpipe.evaluation.predictions import Predictions
from medpipe.registry.loading import step_class_problems
from medpipe.registry.registry import Registry
from medpipe.steps import STEP_KINDS, Step
from medpipe.tasks import Multiclass, Task
from support.broken.metrics import NoDirection


def class_with(base: type[Step], **values: object) -> type[Step]:
    made = type(base)("Odd", (base,), {"__module__": __name__, **values})
    return cast("type[Step]", attrs.frozen(kw_only=True)(made))


def kind_of(cls: type[Step]) -> type[Step]:
    return next(kind for kind in STEP_KINDS if issubclass(cls, kind))


@pytest.mark.parametrize(
    ("base", "name", "value", "wanted"),
    [
        (Accuracy, "direction", "up", "has direction = 'up', which must be 'max' or 'min'"),
        (Accuracy, "pooled", None, "has pooled = None, which must be 'cases' or 'mean'"),
        (
            Accuracy,
            "interval",
            "percentile",
            "has interval = 'percentile', which must be 'percentiles' or 'logit' or 'wilson'",
        ),
        (Accuracy, "answers", "class", "has answers = 'class', which must be a set of texts"),
        (Accuracy, "by_name", "no", "has by_name = 'no', which must be True or False"),
        (Accuracy, "unit", 3, "has unit = 3, which must be text"),
        (CrossEntropy, "labels", "class", "has labels = 'class', which must be a set of texts"),
        (CrossEntropy, "batchwise", 0, "has batchwise = 0, which must be True or False"),
        (
            Constant,
            "planned_for",
            "epochs",
            "has planned_for = 'epochs', which must be 'run' or 'epoch' or 'nothing'",
        ),
        (AdamW, "usual_rate", "1e-3", "has usual_rate = '1e-3', which must be a number"),
        (
            Multiclass,
            "cells",
            "class",
            "has cells = 'class', which must be 'classes' or 'findings' or 'numbers' or 'masks'",
        ),
        (Multiclass, "metrics", "auc", "has metrics = 'auc', which must be a tuple of texts"),
        (ResNet18, "kind", "metric", "has kind = 'metric', which must be 'network': leave it out"),
    ],
)
def test_a_value_that_is_not_known_is_refused(
    base: type[Step], name: str, value: object, wanted: str
) -> None:
    kind = kind_of(base)
    found = step_class_problems(class_with(base, **{name: value}), kind)
    assert found == [f"Odd {wanted}"]
    assert step_class_problems(class_with(base), kind) == []


def test_objects_in_python_are_refused_too() -> None:
    odd = cast("Any", class_with(Accuracy, direction="up"))()
    said = "Odd has direction = 'up', which must be 'max' or 'min'."
    with pytest.raises(medpipe.ConfigError, match=said):
        medpipe.PipelineBuilder().metrics(odd).build()
    loss = cast("Any", class_with(CrossEntropy, labels="class"))()
    with pytest.raises(medpipe.ConfigError, match="Odd has labels = 'class'"):
        medpipe.PipelineBuilder().trainer("supervised", loss=loss).build()
    some = Predictions(
        task=Task(names=("a", "b")),
        ids=("1", "2"),
        scores=np.eye(2),
        labels=np.array([0, 1]),
        groups=(None, None),
        extra={},
    )
    with pytest.raises(medpipe.ConfigError, match="has direction = 'up'"):
        compute_metrics(some, metrics=[odd])


def test_what_only_a_step_says_is_refused_where_it_is_used() -> None:
    assert step_class_problems(NoDirection, kind_of(NoDirection)) == []
    with pytest.raises(medpipe.ConfigError) as caught:
        metrics_of(Task(names=("a", "b")), [NoDirection()])
    assert str(caught.value) == (
        "Metrics can't be used:\n  the metric step 'sound' (not registered) has direction = 'up', "
        "which must be 'max' or 'min'."
    )


def test_no_built_in_step_is_refused() -> None:
    (own,) = [plugin for plugin in Registry.discover().plugins if plugin.builtin]
    assert len(own.steps) > 100
    assert own.problems == ()
