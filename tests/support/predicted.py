"""Predictions from plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from medpipe.evaluation.predictions import Predictions
from medpipe.steps import Task


def predicted(kind: str, scores: Any, labels: Any, groups: Any = None) -> Predictions:
    """Predictions of samples ``s0000``, ... for the names ``n0``, ..."""
    scores = np.asarray(scores, dtype=float)
    return Predictions(
        task=Task(kind=kind, names=tuple(f"n{place}" for place in range(scores.shape[1]))),
        ids=tuple(f"s{row:04}" for row in range(len(scores))),
        scores=scores,
        labels=labels,
        groups=groups or (None,) * len(scores),
    )
