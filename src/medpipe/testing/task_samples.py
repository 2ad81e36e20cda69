"""Names, labels, outputs and scores that checks of tasks try, for tasks that they don't know.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.steps import LabelImage, Task
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    from medpipe.steps import TaskStep

    Array = np.ndarray[Any, np.dtype[Any]]

COUNT = 12
SIDES = ((12, 14), (12, 14, 6))
"""Of images, and of volumes where a task takes no images."""
KNOWN = ("class", "findings", "numbers", "mask", "masks")
"""The forms of labels that are drawn; those of other tasks may be of none of them."""


def names_of(step: TaskStep) -> tuple[str, ...]:
    """Names that the task takes, three if it can."""
    for count in (3, 2, 4, 5, 6, 7, 8, 1):
        names = tuple(step.ordered(tuple("abcdefgh"[:count])))
        if step.names_problem(names) is None:
            return names
    raise FailedError(f"it takes no names that were tried: {step.names_problem(names)}")


def task_of(case: Case) -> Task:
    """The task with names."""
    return Task(kind=case.step, names=names_of(case.step))


def labels_of(case: Case) -> list[Any]:
    """Labels that the task says are right.

    Raises:
        FailedError: It is of a known form, and refuses all that were drawn.
        CheckSkipped: It is of another form.
    """
    step, names = case.step, names_of(case.step)
    said = "nothing"
    for labels in _drawn(len(names)):
        try:
            wrong = [step.label_problem(label, names) for label in labels]
        except Exception as error:
            raise FailedError(f"of the label {labels[0]!r} it raises {described(error)}") from error
        if not any(wrong):
            return labels
        said = next(str(one) for one in wrong if one)
    if step.label_form in KNOWN:
        raise FailedError(f"it refuses all labels that were tried, the last{said}")
    raise skip(f"no labels are known of the form {step.label_form!r}")


def _drawn(count: int) -> list[list[Any]]:
    import numpy as np

    rng, mask = np.random.default_rng(0), np.zeros(SIDES[0], np.uint8)
    numbers = rng.normal(size=(COUNT, count)).round(3).tolist()
    above = rng.uniform(0.1, 5, (COUNT, count)).round(3)
    flags = rng.permutation(COUNT * count).reshape(COUNT, count) % 2
    return [
        [place % count for place in range(COUNT)],
        [tuple(map(float, row)) for row in numbers],
        [tuple(map(float, row)) for row in flags.tolist()],
        *(_with_flag(above, flags, place) for place in reversed(range(count))),
        [float(row[0]) for row in numbers],
        [LabelImage(image=mask) for _ in range(4)],
        [LabelImage(image=mask, channels=count) for _ in range(4)],
    ]


def _with_flag(numbers: Array, flags: Array, place: int) -> list[Any]:
    """Numbers above 0 of which one is 0 or 1, as times and whether something happened."""
    mixed = numbers.copy()
    mixed[:, place] = flags[:, place]
    return [tuple(map(float, row)) for row in mixed.tolist()]


def needs_plain_labels(case: Case) -> list[Any]:
    """Labels of a task whose labels are no images."""
    if case.step.dense:
        raise skip("its labels are images")
    return labels_of(case)


def needs_masks(case: Case) -> None:
    """Skip a check that is for tasks whose labels are images."""
    if not case.step.dense:
        raise skip("its labels are no images")


def outputs_of(case: Case, *, count: int = COUNT, spread: float = 3.0) -> torch.Tensor:
    """What a network may give: float64 of shape (count, outputs), or with sides behind."""
    import torch

    sides = sides_of(case) if case.step.dense else ()
    shape = (count, case.step.outputs(names_of(case.step)), *sides)
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(shape, generator=generator, dtype=torch.float64)


def sides_of(case: Case) -> tuple[int, ...]:
    """Sides of images that the task decides; of volumes where it takes no images."""
    import torch

    count = case.step.outputs(names_of(case.step))
    said = ""
    for sides in SIDES:
        try:
            case.step.decided(torch.zeros(1, count, *sides))
        except Exception as error:
            said = described(error)
        else:
            return sides
    raise FailedError(f"it decides neither images nor volumes: {said}")


def masks_of(case: Case) -> list[Array]:
    """Labels as `encode` wants them, for the form that `decided` gives: blocks, one absent."""
    import numpy as np

    names, sides = names_of(case.step), sides_of(case)
    overlap = case.step.decided(outputs_of(case, count=1).float()).shape[1] != 1
    found = []
    for number in range(4):
        mask = np.zeros((len(names) if overlap else 1, *sides), np.uint8)
        for place in range(len(names)):
            if (number, place) != (3, 0):
                left = 1 + 4 * place % 9
                block: Any = [slice(1 + place, 6 + place), slice(left, left + 4), slice(1, 5)]
                mask[(place if overlap else 0, *block[: len(sides)])] = 1 if overlap else place + 1
        found.append(mask)
    return found


def perfect_outputs(case: Case, masks: Sequence[Array]) -> torch.Tensor:
    """Outputs of a network that is sure of these masks: float32."""
    import numpy as np
    import torch

    count = case.step.outputs(names_of(case.step))
    channels = [
        mask if len(mask) == count else (_column(count, mask.ndim) == mask[0]) for mask in masks
    ]
    return torch.from_numpy(np.stack(channels)).float() * 40 - 20


def _column(count: int, axes: int) -> Array:
    import numpy as np

    return np.arange(count).reshape(-1, *(1 for _ in range(axes - 1)))


def measured(case: Case, predicted: Sequence[Array], truth: Sequence[Array]) -> tuple[Array, Array]:
    """The scores and labels that predictions keep of these masks."""
    import numpy as np

    names = names_of(case.step)
    pairs = [
        case.step.case_scores(
            one, other, names, spacing=(1.0, 2.0, 1.5)[: one.ndim - 1], surfaces=True
        )
        for one, other in zip(predicted, truth, strict=True)
    ]
    return np.stack([scores for scores, _ in pairs]), np.stack([label for _, label in pairs])


def answered(case: Case) -> tuple[Array, Array]:
    """Scores and labels as predictions keep them, of an imperfect network.

    Raises:
        CheckSkipped: No labels of its form are known.
    """
    step, names = case.step, names_of(case.step)
    if step.dense:
        masks = masks_of(case)
        return measured(case, [*masks[1:], masks[0]], [_shifted(mask) for mask in masks])
    labels = step.label_array(labels_of(case), names)
    return step.to_scores(outputs_of(case)).numpy(), labels


def _shifted(mask: Array) -> Array:
    import numpy as np

    return np.roll(mask, 2, axis=2)


def perfect(case: Case) -> tuple[Array, Array, Array]:
    """Scores that are right, scores that are wrong, and the labels.

    Raises:
        CheckSkipped: It is not known what is right.
    """
    import numpy as np

    step, names = case.step, names_of(case.step)
    if step.dense:
        masks = masks_of(case)
        right, labels = measured(case, masks, masks)
        wrong, _ = measured(case, [_shifted(mask) for mask in masks], masks)
        return right, wrong, labels
    labels = step.label_array(labels_of(case), names)
    count = step.score_count(names)
    if step.answer_form == "class" and labels.ndim == 1:
        right = np.eye(count)[labels]
    elif labels.shape[1:] == (count,):
        right = labels.astype(np.float64)
    else:
        raise skip(f"it is not known which scores of the form {step.answer_form!r} are right")
    return right, np.roll(right, 1, axis=0), labels
