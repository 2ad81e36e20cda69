"""Typed, plugin-based training pipelines for medical imaging on PyTorch and MONAI.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.system.lazy import loaded
from medpipe.system.user_name import give_user_a_name

give_user_a_name()

if TYPE_CHECKING:
    __version__: str
    from medpipe.builder import PipelineBuilder
    from medpipe.checks.check_report import CheckReport
    from medpipe.checks.data_report import DataReport
    from medpipe.data.loading.loaders import Loaders
    from medpipe.data.splits.split_samples import SplitSamples
    from medpipe.errors import (
        BadDataError,
        ChangedError,
        CheckFailed,
        CheckpointError,
        ConfigError,
        DataError,
        DeviceError,
        DownloadError,
        ExportError,
        Fault,
        LimitError,
        MedpipeError,
        NotRepeatableError,
        OtherProcessError,
        PluginError,
        Problem,
        RunError,
        StepError,
        TrainingError,
        UnknownStepError,
    )
    from medpipe.evaluation.mask_cases import MaskCase, measure_masks
    from medpipe.evaluation.metrics import compute_metrics
    from medpipe.evaluation.predictions import Predictions
    from medpipe.export.verifying import VerifiedExport, verify_export
    from medpipe.pipeline import Pipeline
    from medpipe.planning.plan import Plan, plan
    from medpipe.prediction.external import Evaluation
    from medpipe.prediction.file_predictions import FilePredictions
    from medpipe.registry.parameters import step
    from medpipe.registry.registry import Registry
    from medpipe.report.plots import RunPlots
    from medpipe.runs.comparing import compare
    from medpipe.runs.comparison import Comparison
    from medpipe.runs.run import Run
    from medpipe.runs.run_set import RunSet
    from medpipe.runs.spread import Spread
    from medpipe.steps import DataInfo, Dataset, Sample, Task

__all__ = [
    # pipelines
    "PipelineBuilder",
    "Pipeline",
    "plan",
    "Plan",
    "CheckReport",
    "DataReport",
    "Loaders",
    "SplitSamples",
    "Run",
    "RunPlots",
    "RunSet",
    "Spread",
    "compare",
    "Comparison",
    "Evaluation",
    "Predictions",
    "compute_metrics",
    "MaskCase",
    "measure_masks",
    "FilePredictions",
    "VerifiedExport",
    "verify_export",
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
    "OtherProcessError",
    "RunError",
    "ExportError",
    "CheckpointError",
    # the version
    "__version__",
]

_HOMES = {
    "medpipe.builder": ("PipelineBuilder",),
    "medpipe.checks.data_report": ("DataReport",),
    "medpipe.checks.check_report": ("CheckReport",),
    "medpipe.data.loading.loaders": ("Loaders",),
    "medpipe.errors": (
        "BadDataError",
        "ChangedError",
        "CheckFailed",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "DeviceError",
        "DownloadError",
        "ExportError",
        "Fault",
        "LimitError",
        "MedpipeError",
        "NotRepeatableError",
        "OtherProcessError",
        "PluginError",
        "Problem",
        "RunError",
        "StepError",
        "TrainingError",
        "UnknownStepError",
    ),
    "medpipe.data.splits.split_samples": ("SplitSamples",),
    "medpipe.evaluation.mask_cases": ("MaskCase", "measure_masks"),
    "medpipe.evaluation.metrics": ("compute_metrics",),
    "medpipe.evaluation.predictions": ("Predictions",),
    "medpipe.export.verifying": ("VerifiedExport", "verify_export"),
    "medpipe.pipeline": ("Pipeline",),
    "medpipe.planning.plan": ("Plan", "plan"),
    "medpipe.prediction.external": ("Evaluation",),
    "medpipe.prediction.file_predictions": ("FilePredictions",),
    "medpipe.registry.parameters": ("step",),
    "medpipe.registry.registry": ("Registry",),
    "medpipe.report.plots": ("RunPlots",),
    "medpipe.runs.comparing": ("compare",),
    "medpipe.runs.comparison": ("Comparison",),
    "medpipe.runs.run": ("Run",),
    "medpipe.runs.run_set": ("RunSet",),
    "medpipe.runs.spread": ("Spread",),
    "medpipe.steps": (
        "DataInfo",
        "Dataset",
        "Sample",
        "Task",
    ),
}
"""Where each name is imported from when it is first used."""

if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from medpipe.system.versions import medpipe_version

            return medpipe_version()
        return loaded(__name__, globals(), _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
