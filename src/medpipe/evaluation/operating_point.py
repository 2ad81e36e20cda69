"""From which probability on a class or a finding counts as found.

The threshold is chosen on the validation split and then kept: a threshold that is chosen on the
test split makes the test look better than it is. NumPy is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.evaluation.class_table import PROPORTIONS, detections
from medpipe.evaluation.outcomes import column_of
from medpipe.evaluation.proportions import proportion_intervals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.evaluation.predictions import Array, Predictions
    from medpipe.settings import OperatingPoint

    Interval = list[float] | None


def choose_operating_point(validation: Predictions, wanted: OperatingPoint) -> dict[str, Any]:
    """Choose the threshold on the validation split.

    Args:
        validation: The predictions on it.
        wanted: The class or finding, and what is to be reached.

    Returns:
        Plain data: ``class``; ``wanted``, ``sensitivity`` or ``specificity``, and ``at_least``,
        how much of it; ``prevalence``; ``threshold``, from which probability on an image counts as
        found: the highest that reaches the sensitivity, or the lowest that reaches the
        specificity, None where no image decides it; and of the validation split ``cases``,
        ``others``, ``sensitivity`` and ``specificity``.

    Raises:
        ValueError: The task has no such class or finding.
    """
    known, truth, scores = column_of(validation, wanted.class_)
    yes, no = scores[known & truth], scores[known & ~truth]
    by = "specificity" if wanted.sensitivity is None else "sensitivity"
    at_least = float(getattr(wanted, by))
    if by == "sensitivity":
        threshold = _reaching_sensitivity(yes, at_least)
    else:
        threshold = _reaching_specificity(no, scores[known], at_least)
    found: dict[str, float | None] = {"sensitivity": None, "specificity": None}
    if threshold is not None:
        some = detections(known, truth, scores >= threshold)
        found = {name: some[name].value for name in found}
    return {
        "class": wanted.class_,
        "wanted": by,
        "at_least": at_least,
        "prevalence": wanted.prevalence,
        "threshold": threshold,
        "validation": {"cases": len(yes), "others": len(no), **found},
    }


def at_operating_point(predictions: Predictions, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Measure predictions at a threshold that was chosen before.

    Args:
        predictions: Of another split or another data set.
        chosen: What `choose_operating_point` gave, with a threshold.

    Returns:
        What was chosen, and of these predictions ``cases``, ``predicted``, ``sensitivity``,
        ``specificity``, ``ppv`` and ``npv`` with their ``intervals``, as `class_table` gives them.
        With a prevalence ``at_prevalence``: ``ppv`` and ``npv`` by Bayes' rule, and their
        ``intervals`` from the ends of those of sensitivity and specificity, which are at least as
        wide as need be.
    """
    threshold = chosen["threshold"]
    predictions = predictions.sorted_by_id()
    known, truth, scores = column_of(predictions, chosen["class"])
    answer = scores >= threshold
    proportions = detections(known, truth, answer)
    intervals = proportion_intervals(predictions, proportions)
    values = {name: proportions[name].value for name in PROPORTIONS}
    found = {
        **chosen,
        "cases": int(truth.sum()),
        "predicted": int((answer & known).sum()),
        **values,
        "intervals": intervals,
    }
    if chosen["prevalence"] is not None:
        found["at_prevalence"] = _at_prevalence(values, intervals, chosen["prevalence"])
    return found


def found_at(scores: Array, names: tuple[str, ...], chosen: Mapping[str, Any]) -> Array:
    """Which samples count as found, bool of shape (samples,), from scores (samples, names)."""
    answer: Array = scores[:, names.index(chosen["class"])] >= chosen["threshold"]
    return answer


def _reaching_sensitivity(yes: Array, share: float) -> float | None:
    """The highest threshold that so many of the cases reach."""
    import numpy as np

    return float(np.sort(yes)[-_count(share, len(yes))]) if len(yes) else None


def _reaching_specificity(no: Array, scores: Array, share: float) -> float | None:
    """The lowest score of an image that so many of the others do not reach."""
    import numpy as np

    if not len(no):
        return None
    highest = np.sort(no)[_count(share, len(no)) - 1]
    above = scores[scores > highest]
    return float(above.min() if len(above) else np.nextafter(highest, np.inf))


def _count(share: float, total: int) -> int:
    """The smallest number that is at least this share, but for rounding: 95 of 100 for 0.95."""
    return max(1, math.ceil(share * total - 1e-9))


def _at_prevalence(
    values: Mapping[str, float | None], intervals: Mapping[str, Interval], prevalence: float
) -> dict[str, Any]:
    sensitivities = _ends(values["sensitivity"], intervals["sensitivity"])
    specificities = _ends(values["specificity"], intervals["specificity"])
    each = [
        _predictive(sensitivity, specificity, prevalence)
        for sensitivity, specificity in zip(sensitivities, specificities, strict=True)
    ]
    return {
        "prevalence": prevalence,
        **{name: each[0][name] for name in ("ppv", "npv")},
        "intervals": {name: _range(each[1][name], each[2][name]) for name in ("ppv", "npv")},
    }


def _ends(value: float | None, interval: Interval) -> tuple[float | None, ...]:
    return (value, None, None) if interval is None else (value, *interval)


def _predictive(
    sensitivity: float | None, specificity: float | None, prevalence: float
) -> dict[str, float | None]:
    """Bayes' rule; None where nothing is found, or everything."""
    if sensitivity is None or specificity is None:
        return {"ppv": None, "npv": None}
    found = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    not_found = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return {
        name: part / (part + rest) if part + rest else None
        for name, (part, rest) in (("ppv", found), ("npv", not_found))
    }


def _range(low: float | None, high: float | None) -> Interval:
    return None if low is None or high is None else [min(low, high), max(low, high)]
