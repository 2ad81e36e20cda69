"""Remarks on a result that hold for any task: few groups, constant scores, odd probabilities, ...

NumPy is imported inside functions.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from medpipe.config.deciding import WEIGHING
from medpipe.evaluation.calibration import ENOUGH_CASES
from medpipe.evaluation.subgroups import group_count
from medpipe.system.text import counted
from medpipe.tasks.remarks import REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medpipe.config import Configuration
    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import DataInfo

FEW_GROUPS = 20
FEWER_GROUPS = 50
FEW_SCORES = 0.1
"""So many different scores for each image: then most images are tied."""
MANY_IMAGES = 20
POOR_ECE = 0.1
WORSE = 1.05
"""So many times the log loss is more than chance makes of it."""
SLOPES = (0.5, 2.0)
"""Outside of these slopes probabilities are called too extreme or too modest."""


def general_remarks(
    predictions: Predictions, metrics: Mapping[str, Any], names: Iterable[str]
) -> list[str]:
    """Sentences on predictions and their metrics, whatever the task is.

    Args:
        predictions: What was measured.
        metrics: Their metrics, with ``intervals``.
        names: Of the metrics.
    """
    if not len(predictions):
        return ["there are no images, so nothing is measured."]
    return [
        *_groups(predictions),
        *_scores(predictions),
        *_undefined(predictions, metrics, names),
        *_probabilities(metrics.get("calibration")),
        *_subgroups(metrics.get("subgroups", {})),
    ]


def _groups(predictions: Predictions) -> list[str]:
    """How many independent groups there are, which is what intervals are made of."""
    images, groups = len(predictions), group_count(predictions)
    if images == 1:
        return ["there is only one image: nothing is known of others."]
    if groups == 1:
        return [
            f"all {images} images are of one group (patient): nothing is known of others, so "
            "there are no intervals."
        ]
    word = "images" if groups == images else "groups (patients)"
    remarks = []
    if groups < FEW_GROUPS:
        remarks.append(
            f"there are only {groups} {word}: with fewer than {FEW_GROUPS}, little is known of "
            "others, and 95 % intervals hold the truth only roughly as often as that."
        )
    elif groups < FEWER_GROUPS:
        remarks.append(
            f"there are {groups} {word}: with fewer than {FEWER_GROUPS}, 95 % intervals hold the "
            "truth only roughly as often as that."
        )
    if predictions.task.step.dense and all(group is None for group in predictions.groups):
        remarks.append(
            "no groups (patients) are known, so intervals are by image: where several are of one "
            "patient, they are too narrow."
        )
    counts = Counter(group for group in predictions.groups if group is not None)
    largest = max(counts.values(), default=0)
    if 2 * largest > images and images > 2:
        remarks.append(
            f"one group (patient) has {largest} of the {images} images, and decides the result."
        )
    return remarks


def _scores(predictions: Predictions) -> list[str]:
    """Scores that are the same for all images, or take few values."""
    import numpy as np

    count, form = len(predictions), predictions.task.step.answer_form
    if count < 2 or form == "cases":  # measures: two cases may well be equally good
        return []
    if np.ptp(predictions.scores, axis=0).max() == 0:
        return [
            f"the scores are the same for each of the {count} images: nothing in an image changes "
            f"them. {REMEDY}"
        ]
    if form not in ("class", "findings"):
        return []
    remarks = []
    different = len(np.unique(predictions.scores, axis=0))
    if count >= MANY_IMAGES and different <= FEW_SCORES * count:
        remarks.append(
            f"there are only {different} different scores for {count} images: most images are "
            "tied, so an auc says little."
        )
    extreme = (predictions.scores == 1) | (predictions.scores == 0)
    certain = int((extreme.any if form == "class" else extreme.all)(axis=1).sum())
    if 2 * certain > count:
        remarks.append(
            f"for {certain} of {count} images the probabilities are exactly 0 or 1: so extreme "
            "ones are no measure of certainty."
        )
    return remarks


def _undefined(
    predictions: Predictions, metrics: Mapping[str, Any], names: Iterable[str]
) -> list[str]:
    """Metrics without a value, and those without an interval, with the reason."""
    names, intervals = list(names), metrics.get("intervals", {})
    missing = [name for name in names if metrics[name] is None]
    remarks = [f"undefined on these images: {', '.join(missing)}."] if missing else []
    without = [
        name for name in names if metrics[name] is not None and intervals.get(name, ()) is None
    ]
    if without and group_count(predictions) > 1:
        remarks.append(
            f"no interval for {', '.join(without)}: resamples of the images all give one value, or "
            "too many of them give none."
        )
    return remarks


def _probabilities(calibration: Mapping[str, Any] | None) -> list[str]:
    """Probabilities that can't be taken as such."""
    # Of fewer cases the error is large by chance alone: each bin holds but a few.
    if calibration is None or calibration["cases"] < ENOUGH_CASES or calibration["ece"] <= POOR_ECE:
        return []
    slope, why = calibration["slope"], ""
    if slope is not None and slope <= 0:
        why = f" Higher ones come true less often: the calibration slope is {slope:.2f}, not 1."
    elif slope is not None and slope < SLOPES[0]:
        why = f" They are too extreme: the calibration slope is {slope:.2f}, not 1."
    elif slope is not None and slope > SLOPES[1]:
        why = f" They are too modest: the calibration slope is {slope:.2f}, not 1."
    return [
        f"probabilities are off by {calibration['ece']:.2f} on average (expected calibration "
        f"error): do not take them as such.{why}"
    ]


def _subgroups(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Subgroups too small to be compared."""
    remarks = []
    for column, tables in columns.items():
        small = [
            f"{value or '(blank)'!r} ({table['groups']})"
            for value, table in tables.items()
            if table["groups"] < FEW_GROUPS
        ]
        if small:
            remarks.append(
                f"subgroups of {column!r} with fewer than {FEW_GROUPS} groups: {', '.join(small)}. "
                "Do not compare them."
            )
    return remarks


def frozen_remarks(metrics: Mapping[str, Any], frozen: Mapping[str, Any]) -> list[str]:
    """Sentences on what was chosen on the validation split, and how it does on other images.

    Args:
        metrics: Of the other images, with what `frozen` gives of them.
        frozen: See `medpipe.evaluation.frozen.chosen_on_validation`.
    """
    remarks = [*_temperature(metrics, frozen), *_point(metrics, frozen)]
    group = metrics.get("by_group")
    if group is None:
        return remarks
    if group["left_out"]:
        remarks.append(
            f"{counted(group['left_out'], 'group')} with images of several classes: left out of "
            "the result by group."
        )
    if group["images"] + group["left_out"] == metrics["images"]:
        remarks.append("no group has several images: the result by group is that by image.")
        return remarks
    return remarks + _results_by_group(group, frozen.get("by_group") or {})


def _results_by_group(group: Mapping[str, Any], frozen: Mapping[str, Any]) -> list[str]:
    """What a result by group says that the one by image may not."""
    remarks, groups = [], group["images"]
    answers = [sum(column) for column in zip(*group.get("confusion", ()), strict=True)]
    if groups > 1 and groups in answers:
        name = list(group["classes"])[answers.index(groups)]
        remarks.append(f"by group, {name!r} is answered for each of the {groups} groups.")
    missing = [name for name in group.get("intervals", {}) if group[name] is None]
    if missing:
        remarks.append(f"undefined by group: {', '.join(missing)}.")
    return remarks + _point(group, {"operating_point": None, **frozen}, "group")


def _temperature(metrics: Mapping[str, Any], frozen: Mapping[str, Any]) -> list[str]:
    before, after = metrics.get("calibration"), metrics.get("calibration_scaled")
    if before is None:
        return []
    if frozen["temperature"] is None:
        return [f"there is no temperature: {frozen['no_temperature_because']}."]
    remarks, images = [], frozen["images"]
    if images < FEWER_GROUPS:
        remarks.append(f"the temperature is fitted on only {counted(images, 'validation image')}.")
    if after is None or before["ece"] is None:
        return remarks
    if after["log_loss"] > WORSE * before["log_loss"]:
        remarks.append(
            "the temperature of the validation split does not help on these images: the log loss "
            f"is {before['log_loss']:.4f} before and {after['log_loss']:.4f} after scaling."
        )
    return remarks


def _point(metrics: Mapping[str, Any], frozen: Mapping[str, Any], unit: str = "image") -> list[str]:
    chosen, found = frozen["operating_point"], metrics.get("operating_point")
    if chosen is None:
        because = frozen.get("no_operating_point_because")
        return [f"there is no operating point: {because}."] if because else []
    name, by = chosen["class"], chosen["wanted"]
    deciding = chosen["validation"]["cases" if by == "sensitivity" else "others"]
    what = f"of {name!r}" if by == "sensitivity" else f"without {name!r}"
    point = "the operating point" + ("" if unit == "image" else f" by {unit}")
    remarks = []
    if deciding < FEW_GROUPS:
        few = counted(deciding, f"validation {unit}")
        remarks.append(f"{point} is chosen by only {few} {what}.")
    if chosen["validation"]["specificity"] == 0:
        remarks.append(f"{point} finds {name!r} in each validation {unit}.")
    if chosen["validation"]["sensitivity"] == 0:
        remarks.append(f"{point} finds {name!r} in no validation {unit} of it.")
    if found is None:
        return remarks
    interval = found["intervals"][by]
    if found[by] is None:
        remarks.append(f"no {unit} here is {what}: the {by} at {point} is undefined.")
    elif interval is not None and interval[1] < chosen["at_least"]:
        remarks.append(
            f"{point} does not keep its {by} of {chosen['at_least']:g} on these "
            f"{unit}s: it is {found[by]:.4f} (95 % interval {interval[0]:.4f} to "
            f"{interval[1]:.4f})."
        )
    return remarks


SHIFTED = (
    "so probabilities fit other frequencies than the data's, and a temperature can't mend that."
)


WEIGHING_FINDINGS = "pos_weight"
"""The parameter of losses that weighs the presence of findings."""


def prior_remarks(configuration: Configuration, data: DataInfo) -> list[str]:
    """A sentence where training has seen other frequencies of classes than the data have.

    Args:
        configuration: The run's, without ``"auto"``.
        data: What was measured on the training split.
    """
    plural = {"class": "classes"}.get(data.task.step.word, f"{data.task.step.word}s")
    counts = set(data.statistics.get("class_counts", ()))
    if len(counts) == 1:
        return []  # all classes are equally frequent
    if configuration.loader.sampling == "balanced":
        return [f"training drew each class equally often (loader.sampling), {SHIFTED}"]
    for name in (*WEIGHING, WEIGHING_FINDINGS):
        if getattr(configuration.trainer.loss, name, None) is not None:
            return [f"the loss weighs {plural} (trainer.loss.{name}), {SHIFTED}"]
    return []
