"""Labels of each form and outputs for them, which checks of losses try.

torch is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.steps import DataInfo, Loss, Task
from medpipe.system.raised import described
from medpipe.tasks import Segmentation
from medpipe.tasks.label_image import IGNORED
from medpipe.testing.check import Case, FailedError, skip
from medpipe.testing.subjects import data_info

if TYPE_CHECKING:
    import torch

KINDS = {"class": "multiclass", "findings": "multilabel", "numbers": "regression"}
DENSE = ("mask", "masks")
FORMS = (*KINDS, *DENSE)
"""The forms of labels of the built-in tasks."""
COUNT = 6
NAMES = (3, 2, 4, 1, 5)
"""How many names are tried: a step may have a weight for each class."""
SIDES = {2: (32, 32), 3: (16, 16, 16)}
BLOCK = 4
SURE = 4.0
"""Outputs of a network that is sure of itself: a probability of 98 %."""


@attrs.frozen(kw_only=True, eq=False)
class Labelled:
    """A batch that a loss fits.

    Attributes:
        form: The form of its labels; see `TaskStep.label_form`.
        data: What was measured on the data.
        loss: The loss, built for them.
        labels: Labels, of which all are there.
        partly: The same, of which some are missing, all of the last sample among them.
        drawn: Outputs that have nothing to do with the labels.
        right: Outputs that say what the labels do.
        wrong: Outputs that say something else.
    """

    form: str
    data: DataInfo
    loss: Loss
    labels: torch.Tensor
    partly: torch.Tensor
    drawn: torch.Tensor
    right: torch.Tensor
    wrong: torch.Tensor

    @property
    def missing(self) -> torch.Tensor:
        """Where an output has no label, of the shape of the outputs."""
        import torch

        if self.form == "class":
            return torch.zeros_like(self.drawn, dtype=torch.bool)
        if self.form in DENSE:
            return (self.partly == IGNORED).expand_as(self.drawn)
        return self.partly.isnan()

    @property
    def dense(self) -> bool:
        """Whether labels are images."""
        return self.form in DENSE


def fitting(case: Case) -> list[Labelled]:
    """A batch for each form of labels that the step says it fits.

    Raises:
        FailedError: It fits none of a form that it names.
        CheckSkipped: Nothing is known of the forms that it names.
    """
    forms = [form for form in FORMS if form in case.step.labels]
    if not forms:
        named = ", ".join(sorted(case.step.labels)) or "none"
        raise skip(f"the forms of labels that it fits are of no built-in task: {named}")
    return [_of_form(case, form) for form in forms]


def _of_form(case: Case, form: str) -> Labelled:
    said = []
    for dims in (2, 3) if form in DENSE else (2,):
        for names in NAMES:
            if form == "class" and names < 2:
                continue
            try:
                found = _drawn(case, form, dims, names)
                found.loss(found.drawn, found.labels)
            except Exception as error:
                said.append(described(error))
            else:
                return found
    raise FailedError(f"it says that it fits labels of the form {form!r}: {said[0][:400]}")


def _drawn(case: Case, form: str, dims: int, names: int) -> Labelled:
    import torch

    data = _data(form, dims, names)
    generator = torch.Generator().manual_seed(0)
    shape = (COUNT, data.outputs, *(SIDES[dims] if form in DENSE else ()))
    drawn = torch.randn(shape, generator=generator)
    if form == "numbers":
        labels = torch.randn(shape, generator=generator)
        right, wrong = labels.clone(), labels + 3
    elif form == "findings":
        labels = torch.randint(2, shape, generator=generator).float()
        right, wrong = (SURE * sign * (2 * labels - 1) for sign in (1, -1))
    elif form == "class":
        labels = torch.arange(COUNT) % names
        right, wrong = (
            SURE * (2 * torch.nn.functional.one_hot(some, names).float() - 1)
            for some in (labels, (labels + 1) % names)
        )
    else:
        labels, right, wrong = _masks(form, shape, generator)
    return Labelled(
        form=form,
        data=data,
        loss=case.step.build(data),
        labels=labels,
        partly=_partly(form, labels),
        drawn=drawn,
        right=right,
        wrong=wrong,
    )


def _data(form: str, dims: int, names: int) -> DataInfo:
    if form in KINDS:
        return data_info(KINDS[form], dims=dims, names=names)
    some = data_info("segmentation", dims=dims, names=names)
    task = Task(kind=Segmentation(overlapping=form == "masks"), names=some.task.names)
    counts = (1000, *(100 for _ in task.names))
    return attrs.evolve(
        some,
        task=task,
        outputs=task.outputs,
        spatial_shape=SIDES[dims],
        statistics={"voxel_counts": counts},
    )


def _masks(form: str, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Any, Any, Any]:
    """Masks of blocks, and outputs that are right and wrong of them."""
    import torch

    coarse = tuple(side // BLOCK for side in shape[2:])
    if form == "masks":
        labels = torch.randint(2, (COUNT, shape[1], *coarse), generator=generator)
        target = labels
    else:
        labels = torch.randint(shape[1], (COUNT, 1, *coarse), generator=generator)
        target = torch.cat([labels == place for place in range(shape[1])], 1).long()
    for axis in range(2, len(shape)):
        labels, target = (one.repeat_interleave(BLOCK, axis) for one in (labels, target))
    right = SURE * (2 * target.float() - 1)
    wrong = right.roll(1, dims=1) if form == "mask" else -right
    return labels.to(torch.uint8), right, wrong


def _partly(form: str, labels: torch.Tensor) -> torch.Tensor:
    partly = labels.clone()
    if form == "class":
        return partly
    nothing = IGNORED if form in DENSE else math.nan
    partly[-1] = nothing
    if form in DENSE:
        partly[0, :, : labels.shape[2] // 2] = nothing
    else:
        partly[0, 0] = nothing
    return partly
