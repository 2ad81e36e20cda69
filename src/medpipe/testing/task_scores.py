"""Checks of tasks: outputs and scores, masks, and the steps that a task names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medpipe.errors import UnknownStepError
from medpipe.steps import DataInfo, InfererStep, LossStep, MetricStep, Step, TaskStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.task_samples import (
    COUNT,
    answered,
    labels_of,
    masks_of,
    measured,
    names_of,
    needs_masks,
    outputs_of,
    perfect,
    perfect_outputs,
    sides_of,
    task_of,
)
from medpipe.testing.tasks import (
    encodes_labels_in_their_order,
    keeps_labels_as_arrays,
    takes_right_labels,
)

if TYPE_CHECKING:
    import torch

SURE = 500.0


@check(
    TaskStep,
    protects="Predictions are refused whose scores are not finite, or can't be.",
    remedy="Use torch's softmax and sigmoid: they overflow nowhere.",
)
def turns_outputs_into_scores(case: Case) -> None:
    """Of outputs it makes finite scores that can be, where a network is very sure too."""
    import torch

    step, names = case.step, names_of(case.step)
    for spread in (1.0, SURE, 0.0):
        outputs = outputs_of(case, spread=spread)
        scores = step.to_scores(outputs)
        counted = (COUNT, step.score_count(names))
        expected = tuple(outputs.shape) if step.dense else counted
        if tuple(scores.shape) != expected:
            raise FailedError(f"of outputs {tuple(outputs.shape)} it makes {tuple(scores.shape)}")
        if step.missing_scores and not step.dense:
            scores = scores.nan_to_num(0.0)
        if not bool(torch.isfinite(scores).all()):
            raise FailedError(f"of outputs up to {float(outputs.abs().max()):.3g} scores are not "
                              "finite")  # fmt: skip
        problem = None if step.dense else step.score_problem(scores.numpy())
        if problem is not None and problem[0].any():
            raise FailedError(f"it makes scores that it says {problem[1]}")


@check(
    TaskStep,
    protects="The mean of several networks' scores becomes outputs again, which are decided.",
    remedy="Write outputs_of as the inverse of to_scores, with a clamp before a logarithm.",
    needs=[turns_outputs_into_scores],
)
def brings_outputs_back_from_scores(case: Case) -> None:
    """Scores of the outputs of scores are these scores."""
    import torch

    own = type(case.step).outputs_of is not TaskStep.outputs_of
    if not own and not (case.step.dense and type(case.step).to_scores is not TaskStep.to_scores):
        raise skip("nothing asks for the outputs of its scores")
    scores = case.step.to_scores(outputs_of(case, count=3))
    again = case.step.to_scores(case.step.outputs_of(scores))
    if scores.shape != again.shape or not torch.allclose(scores, again, atol=1e-5):
        raise FailedError("the scores of outputs_of(scores) are others")


@check(
    TaskStep,
    protects="Tables, galleries and predictions show what scores say.",
    remedy="Return places of names for classes, 0 and 1 for findings, the numbers themselves.",
    needs=[turns_outputs_into_scores],
)
def predicts_answers_that_are_labels(case: Case) -> None:
    """What scores say is one of the task's labels."""
    import numpy as np

    step, names = case.step, names_of(case.step)
    if step.dense:
        raise skip("its labels are images")
    found: Any = step.predicted(step.to_scores(outputs_of(case)).numpy())
    if len(found) != COUNT:
        raise FailedError(f"of {COUNT} scores it predicts {len(found)} answers")
    if step.answer_form == "class":
        wrong = found[(found < 0) | (found >= len(names)) | (found != found.astype(np.int64))]
    elif step.answer_form == "findings":
        wrong = found[(found != 0) & (found != 1)]
    else:
        wrong = found[~np.isfinite(found)]
    if wrong.size:
        raise FailedError(f"it predicts {wrong.ravel()[0]!r}, which is no answer of its form")


@check(
    TaskStep,
    protects="Tables go into metrics.json and into reports.",
    remedy="Convert what NumPy gives with float(...), int(...) and .tolist().",
    needs=[takes_right_labels, keeps_labels_as_arrays, predicts_answers_that_are_labels],
)
def gives_plain_tables(case: Case) -> None:
    """Its tables are plain data under texts."""
    scores, labels = answered(case)
    found: Any = case.step.tables(labels, scores, names_of(case.step), None)
    try:
        json.dumps(found)
    except (TypeError, ValueError) as error:
        raise FailedError(f"its tables are no plain data: {described(error)}") from error
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise FailedError(f"its tables are {found!r:.80}, no mapping of names")


@check(
    TaskStep,
    protects="A trainer without a loss of its own trains with the task's.",
    remedy="Name a registered loss, 'distribution:name' for a plugin's, whose labels hold "
    "label_form.",
    needs=[takes_right_labels, encodes_labels_in_their_order],
)
def names_a_loss_that_fits(case: Case) -> None:
    """Its loss is registered, fits its labels, and is finite."""
    import torch

    cls = _registered(case, LossStep, case.step.loss)
    if case.step.label_form not in cls.labels:
        raise FailedError(
            f"its labels are of the form {case.step.label_form!r}, and those of its loss "
            f"{cls.name!r} of {', '.join(sorted(cls.labels))}"
        )
    outputs, labels, data = _batch(case)
    value = cls().build(data)(outputs, labels)
    if value.shape != () or not bool(torch.isfinite(value)):
        raise FailedError(f"its loss {cls.name!r} of random outputs is {value!r:.80}")


@check(
    TaskStep,
    protects="The task's metrics are computed in each validation.",
    remedy="Name registered metrics, 'distribution:name' for a plugin's, whose answers hold "
    "answer_form.",
)
def names_metrics_that_fit(case: Case) -> None:
    """Its metrics are registered, and fit its answers."""
    if not case.step.metrics:
        raise FailedError("it names no metrics")
    for name in case.step.metrics:
        cls = _registered(case, MetricStep, name)
        if case.step.answer_form not in cls.answers:
            raise FailedError(
                f"its answers are of the form {case.step.answer_form!r}, and those of its metric "
                f"{name!r} of {', '.join(sorted(cls.answers))}"
            )


@check(
    TaskStep,
    protects="Where the trainer names none, the task's monitor decides which network is kept.",
    remedy="Let monitor be the name of one of metrics, without its distribution, or 'loss'.",
    needs=[names_metrics_that_fit],
)
def names_a_monitor_that_is_measured(case: Case) -> None:
    """Its monitor is one of its metrics, or the loss."""
    known = [name.rpartition(":")[2] for name in case.step.metrics]
    if case.step.monitor not in (*known, "loss"):
        raise FailedError(f"its monitor {case.step.monitor!r} is none of {', '.join(known)}")


@check(
    TaskStep,
    protects="A configuration without an inferer predicts with the task's.",
    remedy="Name a registered inferer, 'distribution:name' for a plugin's.",
)
def names_an_inferer_that_is_there(case: Case) -> None:
    """Its inferer is registered."""
    _registered(case, InfererStep, case.step.inferer)


@check(
    TaskStep,
    protects="The network that is kept is the best by the monitor: it must know right from wrong.",
    remedy="Look at direction of the metric, and at the order of names in scores and labels.",
    needs=[
        takes_right_labels,
        keeps_labels_as_arrays,
        predicts_answers_that_are_labels,
        names_metrics_that_fit,
        names_a_monitor_that_is_measured,
    ],
)
def scores_right_answers_best(case: Case) -> None:
    """By its monitor right answers are better than wrong ones, and predicted as labels."""
    import numpy as np

    step, names = case.step, names_of(case.step)
    if step.monitor == "loss":
        raise skip("its monitor is the loss")
    right, wrong, labels = perfect(case)
    if not step.dense and not np.array_equal(np.asarray(step.predicted(right)), labels):
        raise FailedError("scores that are right are not predicted as the labels")
    name = next(one for one in step.metrics if one.rpartition(":")[2] == step.monitor)
    metric, task = _registered(case, MetricStep, name)(), task_of(case)
    values = []
    for scores in (right, wrong):
        rows = metric.rows(scores, labels, task)
        values.append(metric.value(rows, task, step.tables(labels, scores, names, None)))
    best, worse = values
    if best is None or worse is None:
        raise FailedError(f"its monitor {name!r} is {values} for right and for wrong answers")
    if not (best > worse if metric.direction == "max" else best < worse):
        raise FailedError(f"its monitor {name!r} is {best:.4g} for right answers and {worse:.4g} "
                          "for wrong ones")  # fmt: skip


@check(
    TaskStep,
    protects="What the network says of each pixel becomes a mask.",
    remedy="Return uint8 of shape (batch, 1 or names, spatial...) from decided.",
)
def decides_masks(case: Case) -> None:
    """Of outputs it decides masks of the labels' form, and of sure ones these masks."""
    import torch

    needs_masks(case)
    step, names = case.step, names_of(case.step)
    found = step.decided(outputs_of(case, count=2).float())
    channels = found.shape[1] if found.ndim > 1 else 0
    if found.dtype is not torch.uint8 or tuple(found.shape) != (2, channels, *sides_of(case)):
        raise FailedError(f"decided gives {found.dtype} of the shape {tuple(found.shape)}")
    most = len(names) if channels == 1 else 1
    if channels not in (1, len(names)) or int(found.max()) > most:
        raise FailedError(f"decided gives {channels} channels with values up to {int(found.max())}")
    masks = masks_of(case)
    again = step.decided(perfect_outputs(case, masks))
    if any(not torch.equal(torch.from_numpy(m), a) for m, a in zip(masks, again, strict=True)):
        raise FailedError("outputs that are sure of masks are decided as others")


@check(
    TaskStep,
    protects="Predictions keep what is measured of each mask, in place of the mask.",
    remedy="Give case_scores and answer_scores the shapes of score_count, label_shape and names.",
    needs=[decides_masks],
)
def measures_masks(case: Case) -> None:
    """What is measured of masks has the shapes that are said, and scores can be."""
    needs_masks(case)
    step, names = case.step, names_of(case.step)
    masks = masks_of(case)
    scores, labels = measured(case, masks[::-1], masks)
    expected = (step.score_count(names),), tuple(step.label_shape(1, names)[1:])
    if (scores.shape[1:], labels.shape[1:]) != expected:
        raise FailedError(
            f"case_scores gives the shapes {scores.shape[1:]} and {labels.shape[1:]}, but "
            f"score_count and label_shape say {expected[0]} and {expected[1]}"
        )
    problem = step.score_problem(scores)
    if problem is not None and problem[0].any():
        raise FailedError(f"of masks it measures scores that it says {problem[1]}")
    told = step.answer_scores(masks[0], names, spacing=None)
    if told.shape != (len(names),):
        raise FailedError(f"answer_scores gives the shape {told.shape} for {len(names)} names")


def _registered(case: Case, kind: type[Step], name: str) -> Any:
    try:
        return case.registry.get(kind, name)
    except UnknownStepError as error:
        raise FailedError(f"its {kind.kind} {name!r} is not there: {error}") from error


def _batch(case: Case) -> tuple[torch.Tensor, torch.Tensor, DataInfo]:
    """Outputs, labels and what was measured, for a loss."""
    import torch

    step, task = case.step, task_of(case)
    sides = sides_of(case) if step.dense else (16, 16)
    statistics = dict(step.measure(labels_of(case), task.names))
    if step.dense:
        labels: Any = [torch.from_numpy(mask) for mask in masks_of(case)]
        statistics["voxel_counts"] = (1000, *(100 for _ in task.names))[: task.outputs]
    else:
        labels = labels_of(case)
    data = DataInfo(
        task=task,
        channels=1,
        spatial_shape=sides,
        spatial_dims=len(sides),
        outputs=task.outputs,
        statistics=statistics,
    )
    outputs = outputs_of(case, count=len(labels)).float()
    return outputs, step.encode(labels, task.names), data
