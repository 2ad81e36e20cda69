"""What the same answer for each sample reaches: the trivial baseline.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.evaluation.outcomes import means_of

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Predictions


def constant_answer(predictions: Predictions) -> Predictions | None:
    """The same scores for each sample: how frequent each class or finding is, or the mean target.

    They are taken from the labels of these samples, so that no constant answer is better informed.

    Returns:
        Predictions of the same samples; None for a task of which no constant answer is known, and
        where there are no samples.
    """
    import numpy as np

    task, labels = predictions.task, predictions.labels
    form = task.step.answer_form
    if not len(predictions):
        return None
    if form == "class":
        scores = np.bincount(labels, minlength=len(task.names)) / len(labels)
    elif form in ("findings", "numbers"):
        scores = np.nan_to_num(means_of(labels))  # 0 where nothing is known
    else:
        return None
    return attrs.evolve(predictions, scores=np.tile(scores, (len(predictions), 1)))
