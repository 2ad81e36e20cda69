"""Tasks: the questions that data sets ask, and all that depends on the question.

Nothing else branches on the kind of a task: it asks the task's step. Nothing here imports torch,
monai or numpy, but inside functions.
"""

from __future__ import annotations

from medpipe.tasks.class_labels import ClassLabels
from medpipe.tasks.label_image import LabelImage
from medpipe.tasks.multiclass import Multiclass
from medpipe.tasks.multilabel import Multilabel
from medpipe.tasks.regression import Regression
from medpipe.tasks.report import ReportContext, ReportSection, ReportTable
from medpipe.tasks.segmentation import Segmentation
from medpipe.tasks.step import Step, TaskStep
from medpipe.tasks.task import TASKS, Task, task_step
from medpipe.tasks.vector_labels import VectorLabels

__all__ = [
    "TASKS",
    "ClassLabels",
    "LabelImage",
    "Multiclass",
    "Multilabel",
    "Regression",
    "ReportContext",
    "ReportSection",
    "ReportTable",
    "Segmentation",
    "Step",
    "Task",
    "TaskStep",
    "VectorLabels",
    "task_step",
]
