"""Weighted counts and rankings for many resamples at once, and each thing worked out once."""

from __future__ import annotations

import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def once(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Keep what a function of arrays gave for as long as these same arrays live.

    Several metrics need the same counts and rankings of the same cases.
    """
    kept: dict[tuple[int, ...], tuple[object, Result]] = {}

    @wraps(function)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        key = tuple(map(id, arguments))
        if key not in kept:
            arrays = [one for one in arguments if type(one).__module__ == "numpy"]
            # What can't be watched is kept alive, so that nothing else gets its id.
            others = [one for one in arguments if type(one).__module__ != "numpy"]
            kept[key] = others, function(*arguments, **named)
            for array in arrays:
                weakref.finalize(array, kept.pop, key, None)
        return kept[key][1]

    return call


@attrs.frozen(kw_only=True, eq=False)
class Counted:
    """What is true and what is predicted, as numbers of shape (names, cases)."""

    hits: Array
    positives: Array
    predicted: Array

    @classmethod
    def of(cls, truth: Array, predicted: Array) -> Counted:
        """Count truths and predictions, bool of shape (cases, names)."""
        import numpy as np

        hits, positives, guesses = (
            np.ascontiguousarray(which.T, dtype=np.float64)
            for which in (truth & predicted, truth, predicted)
        )
        return cls(hits=hits, positives=positives, predicted=guesses)


@once
def sums(counts: Array, weights: Array) -> Array:
    """Weighted counts of shape (names, resamples)."""
    summed: Array = counts @ weights
    return summed


@attrs.frozen(kw_only=True, eq=False)
class Ranking:
    """The cases of one class or finding, ranked by score once for all resamples.

    Attributes:
        positives: Rows of the positive cases, the highest score first.
        negatives: Rows of the negative cases, the highest score first.
        positives_from: For each positive, how many positives score as high or higher.
        negatives_from: For each positive, how many negatives score as high or higher.
        negatives_above: For each positive, how many negatives score higher.
    """

    positives: Array
    negatives: Array
    positives_from: Array
    negatives_from: Array
    negatives_above: Array

    @classmethod
    def of(cls, truth: Array, scores: Array, known: Array) -> Ranking:
        """Rank the cases whose truth is known; all of shape (cases,)."""
        import numpy as np

        rows = np.flatnonzero(known)
        truth, scores = truth[rows], scores[rows]
        order = np.argsort(-scores, kind="stable")
        positives, negatives = order[truth[order]], order[~truth[order]]
        # Ascending, as searchsorted wants them.
        high, low = -scores[positives], -scores[negatives]
        return cls(
            positives=rows[positives],
            negatives=rows[negatives],
            positives_from=np.searchsorted(high, high, side="right"),
            negatives_from=np.searchsorted(low, high, side="right"),
            negatives_above=np.searchsorted(low, high, side="left"),
        )

    def auc(self, weights: Array) -> Array:
        """Mann and Whitney's U over the number of pairs; ties count half. NaN without pairs."""
        drawn = weights[self.positives]
        before = _running(self.negatives, weights)
        # Twice the negatives that score lower, with ties once.
        below = 2 * before[-1] - before[self.negatives_from] - before[self.negatives_above]
        return divide((drawn * below).sum(axis=0), 2 * drawn.sum(axis=0) * before[-1])

    def average_precision(self, weights: Array) -> Array:
        """The mean precision at the positives, as scikit-learn's. NaN without both values."""
        import numpy as np

        drawn = weights[self.positives]
        hits = _running(self.positives, weights)
        before = _running(self.negatives, weights)
        found = hits[self.positives_from]
        precision = divide(found, found + before[self.negatives_from])
        total = np.where(before[-1] > 0, hits[-1], 0.0)
        return divide((drawn * np.nan_to_num(precision)).sum(axis=0), total)


@once
def _running(rows: Array, weights: Array) -> Array:
    """Sums of weights over the first 0, 1, 2, ... of some rows."""
    import numpy as np

    running = np.zeros((len(rows) + 1, weights.shape[1]))
    np.cumsum(weights[rows], axis=0, out=running[1:])
    return running


def divide(above: Array, below: Array) -> Array:
    """The quotient, NaN where it is divided by zero."""
    import numpy as np

    quotients: Array = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotients, where=below != 0)
    return quotients


def mean_of(values: Array) -> Array:
    """The mean over names, (names, resamples) to (resamples,), of those that are defined."""
    import numpy as np

    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))
