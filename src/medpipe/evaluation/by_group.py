"""Results by group (patient), each of which counts once.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from medpipe.evaluation.outcomes import means_of
from medpipe.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Array


def by_group(
    predictions: Predictions,
    scores: Literal["mean", "highest"] = "mean",
    class_: str | None = None,
) -> tuple[Predictions, int]:
    """Put the predictions of each group together.

    - A group is of the class that all its images are of; if one is of `class_`, the group is. A
      group of images of several other classes has no label and is left out.
    - A group has a finding if an image has it, and does not if no image has it, as far as labels
      are known.
    - A target is the mean of the known ones.

    Args:
        predictions: Of one split.
        scores: What a group's scores are: ``mean``: the mean of its images'; ``highest``: of
            classes those of the image with the highest probability of `class_`, of findings the
            highest of each.
        class_: The class or finding that is looked for; needed for ``highest`` of classes.

    Returns:
        A prediction for each group, sorted by id, and how many groups are left out. An image
        without a group is a group of its own. Ids begin with ``group:`` or ``image:``.

    Raises:
        ValueError: There is nothing to take the highest of: the task has neither classes nor
            findings, or no class is given.
    """
    import numpy as np

    task = predictions.task
    form = task.step.answer_form
    if scores == "highest" and not (form == "findings" or (form == "class" and class_)):
        raise ValueError(
            'group_scores = "highest" needs findings, or a class: name it in '
            "evaluation.operating_point."
        )
    place = task.names.index(class_) if class_ in task.names else None
    predictions = predictions.sorted_by_id()
    rows: dict[str, list[int]] = {}
    for row, (id_, group) in enumerate(zip(predictions.ids, predictions.groups, strict=True)):
        rows.setdefault(f"image:{id_}" if group is None else f"group:{group}", []).append(row)
    ids, labels, averaged = [], [], []
    for id_, places in sorted(rows.items()):
        label = _label(predictions.labels[places], form, place)
        if label is None:
            continue
        some = predictions.scores[places]
        if scores == "mean":
            averaged.append(some.mean(axis=0))
        elif form == "class":
            averaged.append(some[some[:, place].argmax()])
        else:
            averaged.append(some.max(axis=0))
        ids.append(id_)
        labels.append(label)
    count = len(ids)
    together = Predictions(
        task=task,
        ids=tuple(ids),
        scores=np.array(averaged, dtype=np.float64).reshape(count, len(task.names)),
        labels=np.array(labels, dtype=predictions.labels.dtype).reshape(
            count, *predictions.labels.shape[1:]
        ),
        groups=(None,) * count,
    )
    return together, len(rows) - count


def _label(labels: Array, form: str, place: int | None) -> Any:
    """The label of a group's images; None where they have none in common."""
    import numpy as np

    if form == "findings":
        there, known = (labels == 1).any(axis=0), (~np.isnan(labels)).any(axis=0)
        return np.where(known, there, np.nan)
    if form == "numbers":
        return means_of(labels)
    if form == "class" and place is not None and (labels == place).any():
        return place
    same = all(np.array_equal(one, labels[0], equal_nan=labels.dtype.kind == "f") for one in labels)
    return labels[0] if same else None
