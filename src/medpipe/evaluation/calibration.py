"""How far probabilities can be taken as such, and temperature scaling.

NumPy and SciPy are imported inside functions.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.evaluation.outcomes import outcomes_of

if TYPE_CHECKING:
    from medpipe.evaluation.outcomes import Outcomes
    from medpipe.evaluation.predictions import Array, Predictions

BINS = 15
ENOUGH_CASES = 100
"""Of fewer cases errors are large by chance, and slope and intercept are noise: not shown."""
SMALLEST = 2.0**-52
"""Probabilities are taken as at least this, and as at most 1 minus this, for their logarithm."""
_SMALLEST_CLASS = 1e-300  # of several classes, whose logarithms need no 1 - p
# Beyond it the likelihood of a regression on log odds is flat, but for rounding.
_SMALLEST_OF_LINE = 1e-8
_LOWEST_SHARPNESS = 1e-3  # with a temperature above 1,000 all probabilities are alike


def calibration(predictions: Predictions, bins: int = BINS) -> dict[str, Any] | None:
    """Compare probabilities with how often they come true.

    Of classes, the probability of each sample's answer is compared with whether it is right; of
    findings, the probability of each label that is known with whether the finding is there.

    - ``ece``, the expected calibration error (Guo et al., "On Calibration of Modern Neural
      Networks", ICML 2017): the mean distance between confidence and share over the bins, weighted
      by their cases. Bins have equal widths and hold their upper limit; the first also holds 0.
    - ``brier``: the mean squared difference between probabilities and truth, of classes summed
      over the classes (from 0 to 2), of findings for each label (from 0 to 1).
    - ``log_loss``: the mean negative logarithm of the probability of what is true. As
      scikit-learn does, a probability is taken as at least 2^-52.
    - ``slope`` and ``intercept`` of the logistic regression of the truth on the log odds of the
      probability: 1 and 0 are perfect, a slope below 1 means probabilities that are too extreme.
      The intercept is that of a slope of 1 ("calibration in the large": Van Calster et al.,
      "Calibration: the Achilles heel of predictive analytics", BMC Medicine 2019). A probability
      is taken as at least 1e-8 and at most 1 - 1e-8. They are None where all cases, or none, come
      true, and the slope also where one probability parts those that do from the others.

    Args:
        predictions: Of one split; their order changes nothing.
        bins: How many bins.

    Returns:
        Plain data: the numbers above, None where no label is known; ``cases``, of how many;
        ``method``, what the bins hold, in words; ``bins``, for each ``low``, ``high``, ``cases``,
        ``confidence`` (the mean probability) and ``share`` (of its cases, how many come true),
        None where it is empty; ``names``: by class (against the rest) or finding ``ece``,
        ``slope`` and ``intercept`` of its own probability. None for a task that has neither
        classes nor findings.
    """
    import numpy as np

    predictions = predictions.sorted_by_id()
    outcomes = outcomes_of(predictions)
    if outcomes is None:
        return None
    if outcomes.exclusive:
        answers = predictions.predicted[:, None]
        confidence = np.take_along_axis(outcomes.scores, answers, axis=1)[:, 0]
        true = np.take_along_axis(outcomes.truth, answers, axis=1)[:, 0]
        of = "the probability of the answer, compared with how many answers are right"
    else:
        confidence, true = outcomes.scores[outcomes.known], outcomes.truth[outcomes.known]
        of = "the probability of each finding, compared with how many have it"
    table = _bins(confidence, true, bins)
    return {
        "cases": len(true),
        "ece": _expected_error(table),
        "brier": _brier(outcomes),
        "log_loss": _log_loss(outcomes),
        **_line(confidence, true),
        "method": f"{bins} bins of equal width of {of}",
        "bins": table,
        "names": {
            name: _of_name(outcomes, place, bins) for place, name in enumerate(outcomes.names)
        },
    }


def fit_temperature(predictions: Predictions) -> float | None:
    """Find the temperature by which `with_temperature` makes the log loss smallest.

    Guo et al. (see `calibration`). Fit it on the validation split: on the test split it would make
    the result look better than it is.

    Args:
        predictions: Of the validation split.

    Returns:
        The temperature, above 1 where probabilities are too extreme. None where there is none: the
        task has neither classes nor findings, no label is known, every answer is right, or the
        probabilities say no more than chance.
    """
    import numpy as np
    from scipy.optimize import brentq

    outcomes = outcomes_of(predictions.sorted_by_id())
    if outcomes is None or not outcomes.known.any():
        return None
    logits, truth = _logits(outcomes)

    def derivative(sharpness: float) -> float:
        """Of the log loss with respect to 1 / temperature, which rises with it."""
        expected = (_softmax(logits * sharpness) * logits).sum(axis=1)
        return float(np.mean(expected - logits[truth]))

    high = 1.0
    while derivative(high) <= 0:
        high *= 2
        if high > 1e6:
            return None
    if derivative(_LOWEST_SHARPNESS) >= 0:
        return None
    return 1 / float(brentq(derivative, _LOWEST_SHARPNESS, high, xtol=1e-14, rtol=1e-13))


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Divide the logarithms of the probabilities by a temperature.

    Answers stay as they are, but where rounding makes equals of the best two classes.

    Args:
        predictions: Of a task of classes or findings.
        temperature: Above 0: 1 changes nothing, and the larger it is, the more alike
            probabilities become (those of findings come near to 0.5).

    Raises:
        ValueError: The temperature is not above 0, or the task has no probabilities.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"A temperature must be a number above 0, got {temperature!r}.")
    return attrs.evolve(
        predictions,
        scores=scaled_scores(predictions.scores, predictions.task.step.answer_form, temperature),
    )


def scaled_scores(scores: Array, form: str, temperature: float) -> Array:
    """Divide the logarithms of scores, float64 of shape (samples, names), by a temperature.

    Raises:
        ValueError: They are no probabilities by their form, `TaskStep.answer_form`.
    """
    import numpy as np

    if form == "class":
        return _softmax(np.log(np.maximum(scores, _SMALLEST_CLASS)) / temperature)
    if form != "findings":
        raise ValueError("Only the probabilities of classes or findings have a temperature.")
    scaled = _sigmoid(_log_odds(scores) / temperature)
    # Rounding must not take a probability over one half, from which on a finding is predicted.
    below: Array = np.minimum(scaled, np.nextafter(0.5, 0))
    return np.where(scores < 0.5, below, np.maximum(scaled, 0.5))


def _bins(confidence: Array, true: Array, bins: int) -> list[dict[str, Any]]:
    import numpy as np

    edges = np.arange(bins + 1) / bins
    places = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(places, minlength=bins)
    sums = np.bincount(places, weights=confidence, minlength=bins)
    hits = np.bincount(places, weights=true, minlength=bins)
    return [
        {
            "low": float(edges[place]),
            "high": float(edges[place + 1]),
            "cases": int(count),
            "confidence": float(sums[place] / count) if count else None,
            "share": float(hits[place] / count) if count else None,
        }
        for place, count in enumerate(counts)
    ]


def _expected_error(table: list[dict[str, Any]]) -> float | None:
    filled = [each for each in table if each["cases"]]
    cases: int = sum(each["cases"] for each in filled)
    distances = [each["cases"] * abs(each["confidence"] - each["share"]) for each in filled]
    return float(sum(distances) / cases) if cases else None


def _brier(outcomes: Outcomes) -> float | None:
    squares = (outcomes.scores - outcomes.truth) ** 2
    if not outcomes.known.any():
        return None
    return float(
        squares.sum(axis=1).mean() if outcomes.exclusive else squares[outcomes.known].mean()
    )


def _log_loss(outcomes: Outcomes) -> float | None:
    import numpy as np

    if not outcomes.known.any():
        return None
    scores = np.clip(outcomes.scores, SMALLEST, 1 - SMALLEST)
    if outcomes.exclusive:
        return float(-np.log(scores[outcomes.truth]).mean())
    chosen = np.where(outcomes.truth, scores, 1 - scores)
    return float(-np.log(chosen[outcomes.known]).mean())


def _of_name(outcomes: Outcomes, place: int, bins: int) -> dict[str, float | None]:
    known = outcomes.known[:, place]
    scores, truth = outcomes.scores[known, place], outcomes.truth[known, place]
    return {"ece": _expected_error(_bins(scores, truth, bins)), **_line(scores, truth)}


def _line(scores: Array, true: Array) -> dict[str, float | None]:
    """Slope and intercept of the logistic regression of the truth on the log odds."""
    odds = _log_odds(scores, _SMALLEST_OF_LINE)
    none, all_ = not true.any(), bool(true.all())
    return {
        "slope": None if none or all_ else _slope(odds, true),
        "intercept": None if none or all_ else _intercept(odds, true),
    }


def _slope(odds: Array, true: Array) -> float | None:
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    yes, no = odds[true], odds[~true]
    # Where a threshold parts them the likelihood has no maximum.
    if yes.min() >= no.max() or no.min() >= yes.max():
        return None
    spread = float(odds.std())
    scaled = (odds - odds.mean()) / spread
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    with warnings.catch_warnings():
        # Where it begins at the maximum, rounding alone leaves no step that rises.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaled[:, None], true)
    return float(model.coef_[0, 0]) / spread


def _intercept(odds: Array, true: Array) -> float:
    from scipy.optimize import brentq

    def excess(intercept: float) -> float:
        return float(_sigmoid(odds + intercept).sum() - true.sum())

    return float(brentq(excess, -100.0, 100.0, xtol=1e-13))  # the log odds are from -19 to 19


def _logits(outcomes: Outcomes) -> tuple[Array, Array]:
    """Logits of shape (cases, outputs) whose softmax are the probabilities, and what is true."""
    import numpy as np

    if outcomes.exclusive:
        return np.log(np.maximum(outcomes.scores, _SMALLEST_CLASS)), outcomes.truth
    odds, truth = _log_odds(outcomes.scores[outcomes.known]), outcomes.truth[outcomes.known]
    return np.stack([odds, np.zeros_like(odds)], axis=1), np.stack([truth, ~truth], axis=1)


def _log_odds(scores: Array, smallest: float = SMALLEST) -> Array:
    import numpy as np

    scores = np.clip(scores, smallest, 1 - smallest)
    odds: Array = np.log(scores) - np.log1p(-scores)
    return odds


def _sigmoid(odds: Array) -> Array:
    from scipy.special import expit

    values: Array = expit(odds)
    return values


def _softmax(logits: Array) -> Array:
    from scipy.special import softmax

    values: Array = softmax(logits, axis=1)
    return values
