"""Numbers as MONAI's random transforms draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between the two, in any order, as NumPy's `RandomState` allows."""
    return low + (high - low) * rng.random()


def both_ways(most: float | tuple[float, float]) -> tuple[float, float]:
    """A range as MONAI reads it: a number `x` stands for (-x, x)."""
    return (-most, most) if isinstance(most, (int, float)) else most
