"""What is chosen on the validation split and kept for the test and for other data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.by_group import by_group
from medpipe.evaluation.calibration import calibration, fit_temperature, with_temperature
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.operating_point import at_operating_point, choose_operating_point
from medpipe.evaluation.outcomes import outcomes_of
from medpipe.evaluation.remarks import frozen_remarks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.evaluation.predictions import Predictions
    from medpipe.registry.registry import Registry
    from medpipe.settings import EvaluationSettings
    from medpipe.steps import MetricStep

NO_VALIDATION = "there are no predictions on a validation split"


def chosen_on_validation(
    validation: Predictions | None, settings: EvaluationSettings
) -> dict[str, Any]:
    """Choose the temperature and the operating point.

    Args:
        validation: The best network's predictions on the validation split; None without one.
        settings: What is wanted.

    Returns:
        Plain data: ``images``, of how many; ``temperature`` (see `fit_temperature`), None with
        ``no_temperature_because``; ``operating_point`` (see `choose_operating_point`), None with
        ``no_operating_point_because`` where one is wanted; and ``by_group``, the operating point
        for groups, where ``evaluation.unit`` is ``group``.
    """
    if validation is None or not len(validation):
        return nothing_chosen(settings, NO_VALIDATION)
    temperature = fit_temperature(validation)
    point, why = _point(validation, settings)
    groups = None
    if settings.unit == "group":
        together, _ = _by_group(validation, settings)
        groups = {"operating_point": _point(together, settings)[0]}
    return {
        "images": len(validation),
        "temperature": temperature,
        "no_temperature_because": _because(validation) if temperature is None else None,
        "operating_point": point,
        "no_operating_point_because": why,
        "by_group": groups,
    }


def nothing_chosen(settings: EvaluationSettings, because: str) -> dict[str, Any]:
    """What `chosen_on_validation` gives where nothing can be chosen, with the reason."""
    return {
        "images": 0,
        "temperature": None,
        "no_temperature_because": because,
        "operating_point": None,
        "no_operating_point_because": because if settings.operating_point else None,
        "by_group": None,
    }


def results_of(
    predictions: Predictions,
    frozen: Mapping[str, Any],
    settings: EvaluationSettings,
    *,
    metrics: Sequence[MetricStep],
    registry: Registry,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure predictions with all that was chosen before.

    Args:
        predictions: Of the test split or another data set.
        frozen: What `chosen_on_validation` gave.
        settings: Those it was chosen by.
        metrics: More than those of the task.
        registry: Where the task's metrics are looked up.
        remarks: More sentences.

    Returns:
        What `compute_metrics` gives with intervals and subgroups, and where there are any
        ``calibration_scaled`` (the calibration at the temperature), ``operating_point`` and
        ``by_group``: the same by group (patient), with ``left_out``, how many groups have no
        label, and ``scores``.

    Raises:
        StepError: A metric failed.
    """
    found = compute_metrics(
        predictions, metrics=metrics, registry=registry, intervals=True, subgroups=True
    )
    if frozen["temperature"] is not None:
        scaled = with_temperature(predictions, frozen["temperature"])
        found["calibration_scaled"] = calibration(scaled)
    if frozen["operating_point"] is not None:
        found["operating_point"] = at_operating_point(predictions, frozen["operating_point"])
    if settings.unit == "group":
        together, left_out = _by_group(predictions, settings)
        table = compute_metrics(together, metrics=metrics, registry=registry, intervals=True)
        point = (frozen["by_group"] or {}).get("operating_point")
        if point is not None:
            table["operating_point"] = at_operating_point(together, point)
        table.pop("remarks", None)  # they speak of images, and nearly all of them are said already
        found["by_group"] = {"left_out": left_out, "scores": settings.group_scores, **table}
    said = [*found.pop("remarks", ()), *frozen_remarks(found, frozen), *remarks]
    return {**found, "remarks": said} if said else found


def _by_group(predictions: Predictions, settings: EvaluationSettings) -> tuple[Predictions, int]:
    wanted = settings.operating_point
    return by_group(predictions, settings.group_scores, None if wanted is None else wanted.class_)


def _point(
    predictions: Predictions, settings: EvaluationSettings
) -> tuple[dict[str, Any] | None, str | None]:
    wanted = settings.operating_point
    if wanted is None:
        return None, None
    point = choose_operating_point(predictions, wanted)
    if point["threshold"] is None:
        what = "of" if point["wanted"] == "sensitivity" else "without"
        return None, f"no validation image {what} {wanted.class_!r} is known"
    return point, None


def _because(validation: Predictions) -> str:
    outcomes = outcomes_of(validation)
    if outcomes is None:
        return "the task has no probabilities"
    if not outcomes.known.any():
        return "no label of the validation split is known"
    if (outcomes.answer == outcomes.truth)[outcomes.known].all():
        return "every answer on the validation split is right"
    return "on the validation split the probabilities say no more than chance"
