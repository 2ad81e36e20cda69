"""Whether the settings ``[evaluation]`` fit the task and the splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.errors import Problem
from medpipe.registry.wording import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.settings import EvaluationSettings, OperatingPoint
    from medpipe.steps import Sample, Task

FORMS = ("class", "findings")
"""The forms of answers that are probabilities."""


def check_evaluation(
    settings: EvaluationSettings, task: Task, validation: Sequence[Sample], *, grouped: bool
) -> tuple[list[Problem], list[str]]:
    """Check the settings.

    Args:
        settings: Them.
        task: The task.
        validation: The samples of the validation split.
        grouped: Whether any sample has a group.

    Returns:
        Problems and warnings.
    """
    point, problems, warnings = settings.operating_point, [], []
    if point is not None:
        problems += _check_point(point, task, validation)
    if settings.unit == "group" and task.step.dense:
        message = f"a {task.kind} task is measured image by image."
        remedy = 'Set it to "image": intervals keep groups whole all the same.'
        problems.append(Problem(path="evaluation.unit", message=message, remedy=remedy))
    if settings.unit == "group" and settings.group_scores == "highest":
        form = task.step.answer_form
        if form not in FORMS:
            message = f"'highest' needs probabilities, which a {task.kind} task has not."
            remedy = 'Set it to "mean".'
            problems.append(Problem(path="evaluation.group_scores", message=message, remedy=remedy))
        elif form == "class" and point is None:
            message = "'highest' needs to know of which class the highest probability counts."
            remedy = 'Name it in evaluation.operating_point, or set this to "mean".'
            problems.append(Problem(path="evaluation.group_scores", message=message, remedy=remedy))
    if settings.unit == "group" and not grouped:
        warnings.append(
            "evaluation.unit is 'group', and no sample has a group: each image counts as one. Say "
            "which images are of one patient, for example with dataset.group."
        )
    return problems, warnings


def _check_point(point: OperatingPoint, task: Task, validation: Sequence[Sample]) -> list[Problem]:
    path = "evaluation.operating_point"
    if task.step.answer_form not in FORMS:
        message = f"it needs probabilities, which a {task.kind} task has not."
        return [Problem(path=path, message=message, remedy="Leave it out.")]
    if point.class_ not in task.names:
        message = f"{point.class_!r} is none of the data set's names."
        remedy = suggestion(point.class_, list(task.names)) or f"They are {', '.join(task.names)}."
        return [Problem(path=f"{path}.class", message=message, remedy=remedy)]
    if not validation:
        message = "it is chosen on the validation split, which is empty."
        remedy = "Set split.validation above 0, or leave it out."
        return [Problem(path=path, message=message, remedy=remedy)]
    labels = task.step.label_array([sample.label for sample in validation], task.names)
    place = task.names.index(point.class_)
    by_class = task.step.answer_form == "class"
    there = int((labels == place).sum() if by_class else (labels[:, place] == 1).sum())
    absent = int((labels != place).sum() if by_class else (labels[:, place] == 0).sum())
    if there if point.sensitivity is not None else absent:
        return []
    what = "of" if point.sensitivity is not None else "without"
    message = f"it is chosen by the validation images {what} {point.class_!r}, and there is none."
    remedy = "Set split.validation higher, or leave it out."
    return [Problem(path=path, message=message, remedy=remedy)]
