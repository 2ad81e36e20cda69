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
