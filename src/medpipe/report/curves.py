"""ROC and precision-recall curves with 95 % bands.

NumPy and scikit-learn are imported inside functions.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.evaluation.outcomes import column_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 300
POINTS = 101
"""Places along the x axis at which bands are computed."""
MOST_POINTS = 300
"""Points of a curve that are drawn at most."""
NUMBERS_AT_ONCE = 2_000_000


@attrs.frozen(kw_only=True, eq=False)
class Curve:
    """A curve with its band; all are float64 of shape (points,).

    Attributes:
        x: The false positive rate, or the recall; rising.
        y: The true positive rate, or the precision.
        grid: Where the band is known; empty where it says nothing: with fewer than two groups.
        low: The 2.5th percentile of the resamples.
        high: The 97.5th.
        area: The AUC or the average precision.
    """

    x: Array
    y: Array
    grid: Array
    low: Array
    high: Array
    area: float


def group_places(groups: Sequence[str | None]) -> Array:
    """For each case the place of its group; a case without one is a group of its own."""
    import numpy as np

    places: dict[object, int] = {}
    keys = [(n,) if group is None else group for n, group in enumerate(groups)]
    return np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)


def one_against_rest(
    predictions: Predictions, name: str
) -> tuple[Array, Array, Sequence[str | None]]:
    """For a class or a finding: what is true (bool), the scores, and the groups of the cases.

    Cases whose label is missing are left out.
    """
    known, truth, scores = column_of(predictions, name)
    groups = [g for g, there in zip(predictions.groups, known, strict=True) if there]
    return truth[known], scores[known], groups


def roc(truth: Array, scores: Array, groups: Sequence[str | None]) -> Curve | None:
    """The ROC curve; None where all cases are positive, or none is.

    The band is that of the true positive rate at each false positive rate, from resamples of
    whole groups. The curve and its area are scikit-learn's.

    Args:
        truth: Bool of shape (cases,).
        scores: Float64 of the same shape.
        groups: The group of each case, usually the patient.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score, roc_curve

    if truth.all() or not truth.any():
        return None
    x, y, _ = roc_curve(truth, scores)

    def resampled(positives: Array, negatives: Array, grid: Array) -> Array:
        total, rest = positives[-1], negatives[-1]
        found = np.interp(grid, np.r_[0, negatives / rest], np.r_[0, positives / total])
        return np.asarray(found)

    grid, low, high = _band(truth, scores, groups, resampled)
    x, y = _fewer(x, y)
    area = float(roc_auc_score(truth, scores))
    return Curve(x=x, y=y, grid=grid, low=low, high=high, area=area)


def precision_recall(truth: Array, scores: Array, groups: Sequence[str | None]) -> Curve | None:
    """The precision-recall curve; None where all cases are positive, or none is.

    Arguments as of `roc`. The area is the average precision.
    """
    import numpy as np
    from sklearn.metrics import average_precision_score, precision_recall_curve

    if truth.all() or not truth.any():
        return None
    precision, recall, _ = precision_recall_curve(truth, scores)

    def resampled(positives: Array, negatives: Array, grid: Array) -> Array:
        recalls, share = positives / positives[-1], positives / (positives + negatives)
        places = np.searchsorted(recalls, grid - 1e-12).clip(0, len(recalls) - 1)
        return np.asarray(share[places])

    grid, low, high = _band(truth, scores, groups, resampled)
    x, y = _fewer(recall[::-1], precision[::-1])
    area = float(average_precision_score(truth, scores))
    return Curve(x=x, y=y, grid=grid, low=low, high=high, area=area)


def _band(
    truth: Array, scores: Array, groups: Sequence[str | None], curve: Any
) -> tuple[Array, Array, Array]:
    import numpy as np

    places = group_places(groups)
    count = int(places.max()) + 1
    nothing = np.zeros(0)
    if count < 2:
        return nothing, nothing, nothing
    order = np.argsort(-scores, kind="stable")
    # Cases of one score are passed together: only the last of them is a point of the curve.
    last = np.r_[np.diff(scores[order]) != 0, True]
    truth, places = truth[order], places[order]
    grid, found = np.linspace(0, 1, POINTS), []
    for drawn in _drawn(count):
        for weights in drawn[:, places].astype(np.float64):
            positives = np.cumsum(weights * truth)[last]
            negatives = np.cumsum(weights * ~truth)[last]
            seen = positives + negatives > 0
            if positives[-1] > 0 and negatives[-1] > 0:
                found.append(curve(positives[seen], negatives[seen], grid))
    if len(found) < RESAMPLES * 0.95:
        return nothing, nothing, nothing
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return grid, low, high


def _drawn(count: int) -> Iterator[Array]:
    """How often each of so many groups is drawn, of shape (resamples, groups), in chunks."""
    if count * RESAMPLES <= NUMBERS_AT_ONCE:
        yield _drawn_once(count)
        return
    generator, at_once = _generator(), max(1, NUMBERS_AT_ONCE // count)
    for start in range(0, RESAMPLES, at_once):
        yield _multinomial(generator, count, min(at_once, RESAMPLES - start))


@functools.lru_cache(maxsize=1)
def _drawn_once(count: int) -> Array:
    """The same for the curves of all classes, since to draw takes longer than all else."""
    return _multinomial(_generator(), count, RESAMPLES)


def _generator() -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.PCG64(0))


def _multinomial(generator: np.random.Generator, count: int, size: int) -> Array:
    import numpy as np

    return np.asarray(generator.multinomial(count, np.full(count, 1 / count), size=size))


def _fewer(x: Array, y: Array) -> tuple[Array, Array]:
    """At most `MOST_POINTS` of a curve's points, its first and last among them."""
    import numpy as np

    if len(x) <= MOST_POINTS:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
    return x[chosen], y[chosen]
