"""The sections of a configuration, and what stands in them where nothing is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.settings import (
    EvaluationSettings,
    LoaderSettings,
    RunSettings,
    SplitSettings,
    WeightsSettings,
)
from medpipe.steps import (
    DatasetStep,
    HandlerStep,
    MetricStep,
    NetworkStep,
    ReaderStep,
    Step,
    TrainerStep,
    TransformStep,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1

DEFAULT_TABLES: Mapping[str, Mapping[str, str]] = {
    "dataset": {"step": "mednist"},
    "network": {"step": "densenet121", "init_features": "auto", "growth_rate": "auto"},
    "trainer": {"step": "supervised"},
}
"""What stands for a section that is not there; a step that is named has its own defaults."""
DEFAULT_TRANSFORMS = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
"""The set-up of MONAI's first-model tutorial."""
DEFAULT_CHAIN = "default"
"""What stands for these steps in a list of transforms, which the data set's augmentation ends."""

STEP_SECTIONS: Mapping[str, type[Step]] = {
    "dataset": DatasetStep,
    "network": NetworkStep,
    "trainer": TrainerStep,
}
LIST_SECTIONS: Mapping[str, type[Step]] = {
    "reader": ReaderStep,
    "transform": TransformStep,
    "metric": MetricStep,
    "handler": HandlerStep,
}
"""Lists of steps; a `Configuration` has them in the plural."""
DEFAULT_LISTS: Mapping[str, Sequence[str]] = {"transform": DEFAULT_TRANSFORMS}
SETTINGS_SECTIONS: Mapping[str, type[Any]] = {
    "weights": WeightsSettings,
    "loader": LoaderSettings,
    "split": SplitSettings,
    "evaluation": EvaluationSettings,
    "run": RunSettings,
}
SECTIONS = (
    "format",
    "dataset",
    "reader",
    "transform",
    "network",
    "weights",
    "trainer",
    "inferer",
    "metric",
    "handler",
    "loader",
    "split",
    "evaluation",
    "run",
)
