"""Sensitivity, specificity and predictive values of each class or finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.outcomes import outcomes_of
from medpipe.evaluation.proportions import Proportion, proportion_intervals

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Array, Predictions

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv")
"""The proportions of a table, in the order of reports."""


def class_table(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Give the proportions of each class against the rest, or of each finding.

    Findings are taken as predicted at a probability of 0.5, and samples whose label is missing are
    left out.

    Args:
        predictions: Of one split; their order changes nothing.

    Returns:
        Plain data by class or finding, empty for a task that has neither: ``images``, how many
        have a label; ``cases``, how many of them have it; ``predicted``, how many of them are
        predicted to have it; ``sensitivity``, ``specificity``, ``ppv`` and ``npv`` (the positive
        and the negative predictive value, at the share of cases of these samples), None where
        there is nothing to divide by; ``intervals``: for each of them [low, high] at 95 %, or
        None; see `medpipe.evaluation.proportions.proportion_intervals`.
    """
    predictions = predictions.sorted_by_id()
    outcomes = outcomes_of(predictions)
    if outcomes is None:
        return {}
    proportions: dict[tuple[str, str], Proportion] = {}
    counts: dict[str, dict[str, int]] = {}
    for place, name in enumerate(outcomes.names):
        known, truth, answer = (
            values[:, place] for values in (outcomes.known, outcomes.truth, outcomes.answer)
        )
        counts[name] = {
            "images": int(known.sum()),
            "cases": int(truth.sum()),
            "predicted": int((answer & known).sum()),
        }
        for measure, proportion in detections(known, truth, answer).items():
            proportions[name, measure] = proportion
    intervals = proportion_intervals(predictions, proportions)
    return {
        name: {
            **counts[name],
            **{measure: proportions[name, measure].value for measure in PROPORTIONS},
            "intervals": {measure: intervals[name, measure] for measure in PROPORTIONS},
        }
        for name in outcomes.names
    }


def detections(known: Array, truth: Array, answer: Array) -> dict[str, Proportion]:
    """The four proportions of one class or finding, from bool of shape (samples,)."""
    return {
        "sensitivity": Proportion(counted=known & truth, right=answer),
        "specificity": Proportion(counted=known & ~truth, right=~answer),
        "ppv": Proportion(counted=known & answer, right=truth),
        "npv": Proportion(counted=known & ~answer, right=~truth),
    }
