"""Predictions of test sets that the coverage simulation draws."""

from __future__ import annotations

import numpy as np
from benchmarks.coverage_sets import Drawn
from scipy.stats import norm

from medpipe.evaluation.predictions import Predictions
from medpipe.steps import Task


def predictions_of(one: Drawn, scores: np.ndarray) -> Predictions:
    """Of well and ill, where a score above 0 says ill."""
    shares = norm.cdf(scores)
    return Predictions(
        task=Task(names=("well", "ill")),
        ids=tuple(f"{row:05}" for row in range(len(one.ill))),
        scores=np.stack([1 - shares, shares], axis=1),
        labels=one.ill.astype(int),
        groups=tuple(f"p{place:04}" for place in one.places),
    )
