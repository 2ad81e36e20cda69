"""`Outcomes`: what is true and what is answered for each class or finding.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Array, Predictions


@attrs.frozen(kw_only=True, eq=False)
class Outcomes:
    """Predictions as answers to one question for each name: is it there?

    Attributes:
        names: The classes or findings.
        exclusive: Whether a sample has exactly one of them, as with classes: then each is taken
            against the rest.
        known: Bool of shape (samples, names): where the truth is known.
        truth: Bool of shape (samples, names); False where it is unknown.
        answer: Bool of shape (samples, names): what is predicted.
        scores: Float64 of shape (samples, names): the probabilities.
    """

    names: tuple[str, ...]
    exclusive: bool
    known: Array
    truth: Array
    answer: Array
    scores: Array


def outcomes_of(predictions: Predictions) -> Outcomes | None:
    """The outcomes of predictions; None where the task has neither classes nor findings."""
    import numpy as np

    task, labels, predicted = predictions.task, predictions.labels, predictions.predicted
    form = task.step.answer_form
    if form == "class":
        places = np.arange(len(task.names))
        truth, answer = labels[:, None] == places, predicted[:, None] == places
        known = np.ones_like(truth)
    elif form == "findings":
        known, truth, answer = ~np.isnan(labels), labels == 1, predicted
    else:
        return None
    return Outcomes(
        names=task.names,
        exclusive=form == "class",
        known=known,
        truth=truth,
        answer=answer,
        scores=predictions.scores,
    )


def column_of(predictions: Predictions, name: str) -> tuple[Array, Array, Array]:
    """What is known, what is true and the probabilities of one class or finding.

    Returns:
        Bool, bool and float64 of shape (samples,); see `Outcomes`.

    Raises:
        ValueError: The task has no such class or finding.
    """
    outcomes = outcomes_of(predictions)
    names = () if outcomes is None else outcomes.names
    if outcomes is None or name not in names:
        raise ValueError(f"{predictions.task} has no class or finding {name!r}.")
    place = names.index(name)
    return outcomes.known[:, place], outcomes.truth[:, place], outcomes.scores[:, place]


def means_of(labels: Array) -> Array:
    """The mean of the known labels of each column; NaN where none is known.

    Args:
        labels: Float64 of shape (samples, names), with NaN where a label is missing.
    """
    import numpy as np

    known = ~np.isnan(labels)
    counts = known.sum(axis=0)
    sums = np.where(known, labels, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
