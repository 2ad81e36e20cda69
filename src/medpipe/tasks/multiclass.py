"""One class of several."""

from __future__ import annotations

from typing import ClassVar

import attrs

from medpipe.tasks.class_labels import ClassLabels


@attrs.frozen(kw_only=True)
class Multiclass(ClassLabels):
    """One class of several, such as what an image shows."""

    name: ClassVar[str] = "multiclass"
    loss: ClassVar[str] = "cross_entropy"
    monitor: ClassVar[str] = "balanced_accuracy"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "balanced_accuracy",
        "f1",
        "auc",
        "average_precision",
    )
