"""Which cases a report shows: the most confident mistakes, the least confident hits.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Case:
    """A case to show.

    Attributes:
        id: The sample.
        output: Which of the network's outputs it is about.
        lines: What is true and what was predicted, in words.
    """

    id: str
    output: int
    lines: tuple[str, ...]


def mistakes(predictions: Predictions, most: int) -> list[Case]:
    """The mistakes of which the network was most sure; of numbers, the largest errors."""
    return _chosen(predictions, most, wrong=True)


def hits(predictions: Predictions, most: int) -> list[Case]:
    """The right answers of which the network was least sure; of numbers, none."""
    return _chosen(predictions, most, wrong=False)


def _chosen(predictions: Predictions, most: int, *, wrong: bool) -> list[Case]:
    form = predictions.task.step.answer_form
    if form == "class":
        return _of_classes(predictions, most, wrong=wrong)
    if form == "findings":
        return _of_findings(predictions, most, wrong=wrong)
    return _of_numbers(predictions, most) if form == "numbers" and wrong else []


def _of_classes(predictions: Predictions, most: int, *, wrong: bool) -> list[Case]:
    import numpy as np

    predicted, labels, names = predictions.predicted, predictions.labels, predictions.task.names
    confidence = predictions.scores[np.arange(len(predictions)), predicted]
    rows = np.flatnonzero((predicted != labels) == wrong)
    return [
        Case(
            id=predictions.ids[row],
            output=int(predicted[row]),
            lines=(
                f"true: {names[labels[row]]}",
                f"predicted: {names[predicted[row]]}",
                f"probability {confidence[row]:.3f}",
            ),
        )
        for row in _first(rows, confidence[rows], predictions.ids, most, falling=wrong)
    ]


def _of_findings(predictions: Predictions, most: int, *, wrong: bool) -> list[Case]:
    import numpy as np

    scores, labels, names = predictions.scores, predictions.labels, predictions.task.names
    said = predictions.predicted
    sure = np.where(said, scores, 1 - scores)
    fits = ~np.isnan(labels) & ((said != (labels == 1)) == wrong)
    # Of a case, the finding that is furthest off (or least sure) speaks for it.
    worth = np.where(fits, sure if wrong else -sure, -np.inf)
    column = worth.argmax(axis=1)
    rows = np.flatnonzero(fits.any(axis=1))
    cases = []
    for row in _first(rows, worth[rows, column[rows]], predictions.ids, most, falling=True):
        place = int(column[row])
        words = ("not there", "there")
        cases.append(
            Case(
                id=predictions.ids[row],
                output=place,
                lines=(
                    names[place],
                    f"true: {words[int(labels[row, place])]}",
                    f"predicted: {words[int(said[row, place])]}",
                    f"probability {scores[row, place]:.3f}",
                ),
            )
        )
    return cases


def _of_numbers(predictions: Predictions, most: int) -> list[Case]:
    import numpy as np

    scores, labels, task = predictions.scores, predictions.labels, predictions.task
    errors = np.abs(scores - labels)
    spread = np.nanstd(labels, axis=0)
    scaled = np.nan_to_num(errors / np.where(spread > 0, spread, 1), nan=-1.0)
    column = scaled.argmax(axis=1)
    rows = np.flatnonzero(scaled.max(axis=1) >= 0)
    unit = f" {task.unit}" if task.unit else ""
    return [
        Case(
            id=predictions.ids[row],
            output=int(column[row]),
            lines=(
                f"{task.names[column[row]]}",
                f"true: {labels[row, column[row]]:.4g}{unit}",
                f"predicted: {scores[row, column[row]]:.4g}{unit}",
            ),
        )
        for row in _first(rows, scaled[rows, column[rows]], predictions.ids, most, falling=True)
    ]


def _first(rows: Array, values: Array, ids: Any, most: int, *, falling: bool) -> list[int]:
    """The first rows by value, then by id, so that ties don't depend on the order."""
    sign = -1 if falling else 1
    order = sorted(zip(values, rows, strict=True), key=lambda p: (sign * p[0], ids[p[1]]))
    return [int(row) for _, row in order[:most]]
