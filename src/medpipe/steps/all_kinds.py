"""All kinds of steps.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from medpipe.steps.exporting import ExportStep
from medpipe.steps.handlers import HandlerStep
from medpipe.steps.kinds import (
    DatasetStep,
    InfererStep,
    LossStep,
    NetworkStep,
    OptimizerStep,
    ScheduleStep,
    TrainerStep,
    TransformStep,
)
from medpipe.steps.metrics import MetricStep
from medpipe.steps.reading import ReaderStep
from medpipe.tasks import Step, TaskStep

STEP_KINDS: tuple[type[Step], ...] = (
    DatasetStep,
    TransformStep,
    NetworkStep,
    TrainerStep,
    LossStep,
    OptimizerStep,
    ScheduleStep,
    MetricStep,
    InfererStep,
    HandlerStep,
    ReaderStep,
    TaskStep,
    ExportStep,
)
"""All kinds, the four first."""
