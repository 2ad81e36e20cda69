"""Typed, plugin-based training pipelines for medical imaging on PyTorch and MONAI."""

from __future__ import annotations

from importlib.metadata import version as _version

from medpipe.assembly import Loaders
from medpipe.builder import PipelineBuilder
from medpipe.checks.data_report import DataReport
from medpipe.checks.pipeline_check import CheckReport
from medpipe.errors import (
    BadDataError,
    ChangedError,
    CheckFailed,
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    DownloadError,
    Fault,
    LimitError,
    MedpipeError,
    NotRepeatableError,
    PluginError,
    Problem,
    RunError,
    StepError,
    TrainingError,
    UnknownStepError,
)
from medpipe.pipeline import Pipeline
from medpipe.prediction.external import Evaluation
from medpipe.prediction.files import FilePredictions
from medpipe.registry.parameters import step
from medpipe.registry.registry import Registry
from medpipe.runs.run import Run
from medpipe.runs.run_set import RunSet, Spread
from medpipe.steps import DataInfo, Dataset, Sample, Task
from medpipe.system.user_name import give_user_a_name as _give_user_a_name

__version__ = _version("medpipe")

_give_user_a_name()

__all__ = [
    # pipelines
    "PipelineBuilder",
    "Pipeline",
    "CheckReport",
    "DataReport",
    "Loaders",
    "Run",
    "RunSet",
    "Spread",
    "Evaluation",
    "FilePredictions",
    "step",
    # plugins
    "Registry",
    # data
    "Dataset",
    "DataInfo",
    "Sample",
    "Task",
    # errors
    "MedpipeError",
    "Problem",
    "Fault",
    "ConfigError",
    "UnknownStepError",
    "NotRepeatableError",
    "PluginError",
    "StepError",
    "DataError",
    "BadDataError",
    "ChangedError",
    "DownloadError",
    "CheckFailed",
    "DeviceError",
    "TrainingError",
    "LimitError",
    "RunError",
    "CheckpointError",
    # the version
    "__version__",
]
