"""A network's answers, by sample id: what metrics are computed from, and what is written."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import attrs

from medpipe import files
from medpipe.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

    from medpipe.steps import Task

    Array = np.ndarray[Any, Any]


@attrs.frozen(kw_only=True, eq=False)
class Predictions:
    """What a network says of some samples, and what is true.

    Attributes:
        task: What the outputs mean.
        ids: The samples.
        scores: Of shape (samples, outputs), float64: probabilities of classes or findings, or
            the values of a regression.
        labels: For ``multiclass`` of shape (samples,), int64; else (samples, outputs), float64,
            with NaN for missing.
        groups: The samples' groups, usually patients.
    """

    task: Task
    ids: tuple[str, ...]
    scores: Array = attrs.field(repr=False)
    labels: Array = attrs.field(repr=False)
    groups: tuple[str | None, ...] = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        count, outputs = len(self.ids), len(self.task.names)
        if self.scores.shape != (count, outputs):
            raise ValueError(f"scores must have shape {(count, outputs)}, not {self.scores.shape}")
        expected = (count,) if self.task.kind == "multiclass" else (count, outputs)
        if self.labels.shape != expected:
            raise ValueError(f"labels must have shape {expected}, not {self.labels.shape}")
        if len(self.groups) != count:
            raise ValueError(f"there must be {count} groups, not {len(self.groups)}")

    @property
    def predicted(self) -> Array:
        """The likeliest class, the findings at a probability of one half, or the values."""
        if self.task.kind == "multiclass":
            likeliest: Array = self.scores.argmax(axis=1)
            return likeliest
        return self.scores >= 0.5 if self.task.kind == "multilabel" else self.scores


def to_scores(outputs: torch.Tensor, task: Task) -> Array:
    """Turn a network's outputs into probabilities or values.

    Args:
        outputs: Of shape (samples, outputs): logits, or values of a regression.
        task: What they mean.

    Returns:
        Of shape (samples, outputs), float64.
    """
    import torch

    values = outputs.double()
    if task.kind == "multiclass":
        values = torch.softmax(values, dim=1)
    elif task.kind == "multilabel":
        values = torch.sigmoid(values)
    array: Array = values.numpy()
    return array


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as CSV, sorted by id, whole or not at all.

    The columns: ``id``, ``group``; for classes ``label``, ``prediction`` and a ``p(...)`` for
    each class; for findings and targets ``label(...)`` and ``p(...)`` or ``value(...)`` for each.
    A missing label is left blank. Numbers read back as the same floats.
    """
    task = predictions.task
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    multiclass = task.kind == "multiclass"
    labels = ["label", "prediction"] if multiclass else [f"label({n})" for n in task.names]
    writer.writerow(["id", "group", *labels, *_score_columns(task)])
    predicted = predictions.predicted
    for index in sorted(range(len(predictions.ids)), key=predictions.ids.__getitem__):
        truth = predictions.labels[index]
        if multiclass:
            shown = [task.names[int(truth)], task.names[int(predicted[index])]]
        else:
            shown = ["" if value != value else repr(float(value)) for value in truth]
        scores = [repr(float(score)) for score in predictions.scores[index]]
        group = predictions.groups[index]
        writer.writerow([predictions.ids[index], group or "", *shown, *scores])
    files.write_text(path, text.getvalue())


def read_predictions(path: Path, task: Task) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        RunError: The file can't be read, or is of another task.
    """
    import numpy as np

    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if task.kind == "multiclass":
            places = {name: place for place, name in enumerate(task.names)}
            labels = np.array([places[row["label"]] for row in rows], dtype=np.int64)
        else:
            given = [[row[f"label({name})"] for name in task.names] for row in rows]
            labels = np.array([[float(v) if v else np.nan for v in row] for row in given])
            labels = labels.reshape(len(rows), len(task.names))
        columns = _score_columns(task)
        scores = np.array([[float(row[column]) for column in columns] for row in rows])
        return Predictions(
            task=task,
            ids=tuple(row["id"] for row in rows),
            scores=scores.reshape(len(rows), len(columns)),
            labels=labels,
            groups=tuple(row["group"] or None for row in rows),
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} holds no predictions of this task: {error}.") from error


def _score_columns(task: Task) -> list[str]:
    word = "value" if task.kind == "regression" else "p"
    return [f"{word}({name})" for name in task.names]
