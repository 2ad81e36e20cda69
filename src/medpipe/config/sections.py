"""The sections of a configuration, and what stands in them where nothing is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.settings import LoaderSettings, RunSettings, SplitSettings, WeightsSettings
from medpipe.steps import DatasetStep, NetworkStep, Step, TrainerStep

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1

DEFAULT_STEPS: Mapping[str, str] = {
    "dataset": "mednist",
    "network": "densenet121",
    "trainer": "supervised",
}
DEFAULT_TRANSFORMS = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
"""The set-up of MONAI's first-model tutorial."""

STEP_SECTIONS: Mapping[str, type[Step]] = {
    "dataset": DatasetStep,
    "network": NetworkStep,
    "trainer": TrainerStep,
}
SETTINGS_SECTIONS: Mapping[str, type[Any]] = {
    "weights": WeightsSettings,
    "loader": LoaderSettings,
    "split": SplitSettings,
    "run": RunSettings,
}
SECTIONS = (
    "format",
    "dataset",
    "transform",
    "network",
    "weights",
    "trainer",
    "inferer",
    "metric",
    "handler",
    "loader",
    "split",
    "run",
)
