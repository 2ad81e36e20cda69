"""The kinds of steps, and what passes between them.

Nothing here imports torch, monai or numpy, so that listing and checking steps is instant.
"""

from __future__ import annotations

from medpipe.steps.all_kinds import STEP_KINDS
from medpipe.steps.auto import (
    Auto,
    AutoInfo,
    auto_batch_size,
    auto_epochs,
    auto_learning_rate,
    auto_sampling,
    auto_width,
    or_auto,
    resolved,
)
from medpipe.steps.drawn import DrawnStep, on_device
from medpipe.steps.exporting import Exported, ExportParts, ExportStep, WholeRun
from medpipe.steps.handlers import HandlerStep, RunContext, RunEvent
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
from medpipe.steps.metrics import MaskMeasure, MetricStep
from medpipe.steps.patches import PatchSource, PatchStep
from medpipe.steps.reading import (
    ChosenReader,
    DecodedImage,
    Frames,
    ImageFile,
    ImageFiles,
    MissingSpacing,
    Padding,
    ReaderStep,
    Reading,
    Series,
    SpacingOf,
    Window,
    chosen_readers,
    listing_with,
)
from medpipe.steps.resampling import FusedStep, ResampledStep, fused
from medpipe.steps.samples import (
    SPLITS,
    Dataset,
    OnLeak,
    Sample,
    Split,
    has_image_label,
)
from medpipe.steps.spatial_map import SpatialMap
from medpipe.steps.training import DataInfo, Denominator, Inferer, Loss, Training, TrainingParts
from medpipe.tasks import (
    LabelImage,
    ReportContext,
    ReportSection,
    ReportTable,
    Step,
    Task,
    TaskStep,
)

__all__ = [
    "Auto",
    "AutoInfo",
    "ChosenReader",
    "DataInfo",
    "Dataset",
    "DatasetStep",
    "DecodedImage",
    "Denominator",
    "DrawnStep",
    "ExportParts",
    "ExportStep",
    "Exported",
    "FusedStep",
    "Frames",
    "HandlerStep",
    "ImageFile",
    "ImageFiles",
    "Inferer",
    "LabelImage",
    "InfererStep",
    "Loss",
    "LossStep",
    "MaskMeasure",
    "MetricStep",
    "MissingSpacing",
    "NetworkStep",
    "OnLeak",
    "OptimizerStep",
    "SPLITS",
    "Padding",
    "PatchSource",
    "PatchStep",
    "Split",
    "ReaderStep",
    "Reading",
    "ReportContext",
    "ResampledStep",
    "SpatialMap",
    "ReportSection",
    "ReportTable",
    "RunContext",
    "RunEvent",
    "STEP_KINDS",
    "Sample",
    "ScheduleStep",
    "Series",
    "SpacingOf",
    "Step",
    "Task",
    "TaskStep",
    "TrainerStep",
    "Training",
    "TrainingParts",
    "TransformStep",
    "WholeRun",
    "Window",
    "auto_batch_size",
    "auto_epochs",
    "auto_learning_rate",
    "auto_sampling",
    "auto_width",
    "chosen_readers",
    "fused",
    "has_image_label",
    "listing_with",
    "on_device",
    "or_auto",
    "resolved",
]
