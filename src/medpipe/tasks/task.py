"""`Task`: a question with the names that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.system.plain_numbers import plain_text
from medpipe.tasks.multiclass import Multiclass
from medpipe.tasks.multilabel import Multilabel
from medpipe.tasks.regression import Regression
from medpipe.tasks.segmentation import Segmentation
from medpipe.tasks.step import TaskStep

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS: tuple[type[TaskStep], ...] = (Multiclass, Multilabel, Regression, Segmentation)
"""The built-in tasks."""
_BY_NAME = {cls.name: cls for cls in TASKS}


def _strings(items: Iterable[str]) -> tuple[str, ...]:
    return tuple([plain_text(item) for item in items])


def task_step(given: str | TaskStep) -> TaskStep:
    """A task's step, also by the name of a built-in one.

    Raises:
        ValueError: There is no built-in task of that name.
    """
    if isinstance(given, TaskStep):
        return given
    if given not in _BY_NAME:
        raise ValueError(
            f"There is no built-in task {given!r}: there are {', '.join(_BY_NAME)}. Give the task "
            "of a plugin as an object."
        )
    return _BY_NAME[given]()


@attrs.frozen(kw_only=True)
class Task:
    """The question that a data set asks.

    Attributes:
        step: What depends on the question. Given as ``kind``: an object, or the name of a
            built-in one: ``multiclass`` (one class of several), ``multilabel`` (any number of
            findings), ``regression`` (one or several numbers) or ``segmentation`` (masks).
        names: The classes, findings, targets or structures.
        unit: The unit of a regression's targets, for its metrics: ``years``.

    Raises:
        ValueError: `kind` names no built-in task.
    """

    step: TaskStep = attrs.field(factory=Multiclass, alias="kind", converter=task_step)
    names: tuple[str, ...] = attrs.field(converter=_strings)
    unit: str | None = None

    @property
    def kind(self) -> str:
        """The name of the question."""
        return self.step.name

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for a sample."""
        return self.step.outputs(self.names)

    def __str__(self) -> str:
        return f"{self.kind} ({', '.join(self.names)})"
