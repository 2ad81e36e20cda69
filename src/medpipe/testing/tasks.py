"""Checks of tasks: labels, strata, and the rows of files."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from medpipe.steps import TaskStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.task_samples import (
    answered,
    labels_of,
    masks_of,
    names_of,
    needs_plain_labels,
    outputs_of,
)
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference


@check(
    TaskStep,
    protects="The screening before a run refuses every label that label_problem refuses.",
    remedy="Return None from label_problem for labels that are right.",
)
def takes_right_labels(case: Case) -> None:
    """It takes labels of its form."""
    labels_of(case)


@check(
    TaskStep,
    protects="A wrong label must be named before training, not fail in the loss.",
    remedy="Return what is wrong from label_problem, as the end of a sentence; never raise.",
    needs=[takes_right_labels],
)
def refuses_wrong_labels(case: Case) -> None:
    """It says what is wrong with an object, too many numbers, and infinity."""
    names = names_of(case.step)
    for label in (object(), (0.0,) * (len(names) + 40), math.inf, (math.inf,) * len(names)):
        try:
            said: Any = case.step.label_problem(label, names)
        except Exception as error:
            raise FailedError(f"of the label {label!r:.40} it raises {described(error)}") from error
        if not isinstance(said, str) or not said.strip():
            raise FailedError(f"it takes {label!r:.40} for a label")


@check(
    TaskStep,
    protects="Reports, galleries and messages say labels in words.",
    remedy="Return a text that is not empty from label_text.",
    needs=[takes_right_labels],
)
def says_labels_in_words(case: Case) -> None:
    """Each label has a text."""
    names = names_of(case.step)
    for label in labels_of(case):
        said: Any = case.step.label_text(label, names)
        if not isinstance(said, str) or not said.strip():
            raise FailedError(f"the text of the label {label!r:.40} is {said!r}")


@check(
    TaskStep,
    protects="A loss gets the labels of a batch in the order of its images.",
    remedy="Return a tensor from encode with one row for each label, in their order.",
    needs=[takes_right_labels],
)
def encodes_labels_in_their_order(case: Case) -> None:
    """The labels of a batch are a tensor with a row for each, whatever else is in the batch."""
    import torch

    names = names_of(case.step)
    given: Any = labels_of(case)
    if case.step.dense:
        given = [torch.from_numpy(mask) for mask in masks_of(case)]
    whole: Any = case.step.encode(given, names)
    if not isinstance(whole, torch.Tensor) or whole.shape[:1] != (len(given),):
        raise FailedError(f"of {len(given)} labels it makes {getattr(whole, 'shape', whole)!r:.80}")
    back = case.step.encode(given[::-1], names).flip(0)
    if difference(whole, back):
        raise FailedError("the order of a batch changes how a label is encoded")
    if difference(whole[:1], case.step.encode(given[:1], names)):
        raise FailedError("a label is encoded in another way where it is alone")


@check(
    TaskStep,
    protects="Predictions keep labels from a list, from the loader and from a file alike.",
    remedy="Give label_array and label_shape the same shape, and let label_array undo encode.",
    needs=[takes_right_labels, encodes_labels_in_their_order],
)
def keeps_labels_as_arrays(case: Case) -> None:
    """Labels as arrays have the shape that is said, from a list and from what was encoded."""
    import numpy as np

    names = names_of(case.step)
    if case.step.dense:
        labels: Any = answered(case)[1]
        found = case.step.label_array(labels, names)
    else:
        labels = needs_plain_labels(case)
        found = case.step.label_array(labels, names)
        again = case.step.label_array(case.step.encode(labels, names).numpy(), names)
        if found.shape != again.shape or not np.allclose(found, again, atol=1e-4, equal_nan=True):
            raise FailedError("label_array gives other labels for what encode gave")
    expected = case.step.label_shape(len(labels), names)
    if tuple(found.shape) != tuple(expected):
        raise FailedError(f"label_array gives the shape {found.shape}, label_shape says {expected}")
    if difference(found, case.step.label_array(found, names)):
        raise FailedError("label_array changes what it gave itself")


@check(
    TaskStep,
    protects="A file of predictions with labels that can't be must be refused, no other.",
    remedy="Return bool of shape (count,), True where a label can't be, and what is allowed.",
    needs=[takes_right_labels, keeps_labels_as_arrays],
)
def finds_no_fault_in_right_labels(case: Case) -> None:
    """None of the labels that are right is called wrong."""
    labels = answered(case)[1]
    wrong, allowed = case.step.wrong_labels(labels, names_of(case.step))
    if getattr(wrong, "shape", None) != (len(labels),) or wrong.dtype != bool:
        raise FailedError(f"wrong_labels gives {wrong!r:.80}, no bool for each label")
    if wrong.any() or not isinstance(allowed, str) or not allowed.strip():
        raise FailedError(f"wrong_labels calls right labels wrong, and says {allowed!r}")


@check(
    TaskStep,
    protects="Another data set has the same names in another order: labels go by their names.",
    remedy="Move each number of a label to the place of its name.",
    needs=[takes_right_labels, keeps_labels_as_arrays],
)
def relabels_there_and_back(case: Case) -> None:
    """A label by other names, and back, is what it was."""
    labels, names = needs_plain_labels(case), names_of(case.step)
    other = names[1:] + names[:1]
    if tuple(case.step.ordered(other)) != other:
        raise skip("its names have an order of their own")
    there = [case.step.relabelled(label, names, other) for label in labels]
    back = [case.step.relabelled(label, other, names) for label in there]
    before, after = (case.step.label_array(some, names) for some in (labels, back))
    if difference(before, after):
        raise FailedError(f"by the names {other} and back by {names} labels are others")
    if case.step.relabelled(labels[0], names, names) != labels[0]:
        raise FailedError("by the same names a label is another")
    for label, moved in zip(labels, there, strict=True):
        if case.step.label_problem(moved, other):
            raise FailedError(f"by other names it gives {moved!r}, which is no label")
        turned = isinstance(label, tuple) and len(label) == len(names)
        texts = case.step.label_text(label, names), case.step.label_text(moved, other)
        same = [sorted(text.split(", ")) for text in texts]
        if same[0] != same[1] or (turned and tuple(moved) != label[1:] + label[:1]):
            raise FailedError(f"by the names {other} {texts[0]!r} becomes {texts[1]!r}")


@check(
    TaskStep,
    protects="Samples are divided by their strata, so that each split has of each.",
    remedy="Return a tuple of ints for each label, in their order.",
    needs=[takes_right_labels],
)
def gives_strata_of_each_sample(case: Case) -> None:
    """Each label has strata, which depend on no order; one alone with one_stratum."""
    labels, names = labels_of(case), names_of(case.step)
    found: Any = case.step.strata(labels, names, len(labels))
    plain = all(isinstance(one, tuple) and all(type(n) is int for n in one) for one in found)
    if len(found) != len(labels) or not plain or not all(found):
        raise FailedError(f"the strata of {len(labels)} labels are {found!r:.120}")
    if case.step.one_stratum and any(len(one) != 1 for one in found):
        raise FailedError("one_stratum is True, and a label has several strata")
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    again = case.step.strata([labels[place] for place in order], names, len(labels))
    if again != [found[place] for place in order]:
        raise FailedError("the order of samples changes their strata")


@check(
    TaskStep,
    protects="What is measured on labels is kept in the run's record, as JSON.",
    remedy="Return a mapping of names to numbers and tuples of numbers.",
    needs=[takes_right_labels],
)
def measures_plain_numbers(case: Case) -> None:
    """What it measures on labels is plain data."""
    found: Any = case.step.measure(labels_of(case), names_of(case.step))
    try:
        json.dumps(dict(found))
    except (TypeError, ValueError) as error:
        raise FailedError(f"measure gives {found!r:.120}, no plain data") from error


@check(
    TaskStep,
    protects="A file of predictions is read by its columns.",
    remedy="Give row as many texts as columns has names, with and without labels.",
    needs=[takes_right_labels, keeps_labels_as_arrays],
)
def writes_a_cell_for_each_column(case: Case) -> None:
    """Rows have a text for each column, with labels and without."""
    step, names = case.step, names_of(case.step)
    scores, labels = answered(case)
    answers = step.predicted(scores).tolist()
    for labelled in (True, False):
        columns = step.columns(names, labels=labelled)
        if len(set(columns)) != len(columns) or not all(isinstance(c, str) for c in columns):
            raise FailedError(f"its columns are {columns}, not names of their own")
        told = scores[0].tolist()
        if step.dense and not labelled:
            told = step.answer_scores(masks_of(case)[0], names, spacing=None).tolist()
        row: Any = step.row(labels.tolist()[0] if labelled else None, answers[0], told, names)
        if len(row) != len(columns) or not all(isinstance(cell, str) for cell in row):
            raise FailedError(
                f"with labels={labelled} it writes {len(row)} cells {row!r:.80} under "
                f"{len(columns)} columns"
            )


@check(
    TaskStep,
    protects="Metrics, pooling over folds and comparisons are computed from the files of runs.",
    remedy="Write numbers with repr, all digits, and undo row in read_row.",
    needs=[takes_right_labels, keeps_labels_as_arrays, writes_a_cell_for_each_column],
)
def reads_what_it_writes(case: Case) -> None:
    """Labels and scores are the same after they were written and read."""
    _read_back(case, *answered(case), "")


@check(
    TaskStep,
    protects="Labels are missing in most data sets of findings, targets and structures.",
    remedy="Write a blank cell where nothing is known, and read it as NaN.",
    needs=[takes_right_labels, keeps_labels_as_arrays, writes_a_cell_for_each_column,
           reads_what_it_writes],
)  # fmt: skip
def reads_missing_labels(case: Case) -> None:
    """A missing label is the same after it was written and read."""
    import numpy as np

    step, names = case.step, names_of(case.step)
    scores, labels = answered(case)
    if step.dense:
        lacking = step.unannotated(labels, scores, names, names[:1])
        return _read_back(case, lacking[1], lacking[0], "a structure that is not annotated: ")
    missing = step.label_array([step.missing_label(names)] * len(labels), names)
    if np.issubdtype(missing.dtype, np.integer) and not np.isin(missing, labels).all():
        raise FailedError(f"the missing label {missing[0]!r} is no label of the task")
    return _read_back(case, scores, missing, "a missing label: ")


@typical("task", found_by=takes_right_labels)
def _use(case: Case) -> Use:
    outputs = outputs_of(case)
    labels = [] if case.step.dense else labels_of(case)

    def call() -> object:
        scores = case.step.to_scores(outputs)
        encoded = case.step.encode(labels, names_of(case.step)) if labels else None
        return scores, encoded, case.step.predicted(scores.numpy())

    return Use(given=[outputs, labels], call=call)


def _read_back(case: Case, scores: Any, labels: Any, said: str) -> None:
    import numpy as np

    step, names = case.step, names_of(case.step)
    columns = step.columns(names, labels=True)
    answers, read = step.predicted(scores).tolist(), []
    told, known = scores.tolist(), labels.tolist()
    for place in range(len(labels)):
        row = step.row(known[place], answers[place], told[place], names)
        try:
            read.append(step.read_row(dict(zip(columns, row, strict=True)), names))
        except (ValueError, KeyError) as error:
            raise FailedError(f"{said}it can't read {row}: {described(error)}") from error
    again = step.label_array(
        np.array([label for label, _ in read]).reshape(step.label_shape(len(read), names)), names
    )
    if difference(labels, again):
        raise FailedError(f"{said}the label {known[0]} comes back as {again.tolist()[0]}")
    found = np.array([one for _, one in read], dtype=np.float64)
    if found.shape != scores.shape or difference(scores.astype(np.float64), found):
        raise FailedError(f"{said}the scores {told[0]} come back as {found.tolist()[0]}")
