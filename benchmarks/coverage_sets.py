"""Test sets for ``benchmarks.coverage``, whose truth is known, and what can be reached on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from scipy.stats import binom, norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray[Any, np.dtype[Any]]

LARGEST = 7
"""A patient has 1 to 7 images, as many of each."""
WITHIN = 0.5
"""The share of the scores' variance that images of one patient have in common."""
COMMON = 0.6
"""The share of the scores' variance that two networks have in common."""
METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc")


@attrs.frozen
class Cell:
    """What sets are drawn from; see `WITHIN` and `LARGEST`."""

    groups: int
    prevalence: float
    accuracy: float
    within: float = WITHIN
    largest: int = LARGEST

    @property
    def better(self) -> float:
        """The accuracy of a network that makes half as many errors."""
        return 1 - (1 - self.accuracy) / 2


@attrs.frozen(eq=False)
class Drawn:
    """A test set: arrays of shape (images,), and scores of three networks, (3, images).

    The first network and the second are equally good, the third makes half as many errors. A score
    above 0 says ill.
    """

    places: Array
    ill: Array
    scores: Array


def truth(accuracy: float) -> dict[str, float]:
    """The true metrics of a network with this accuracy in both classes."""
    auc = float(norm.cdf(np.sqrt(2) * norm.ppf(accuracy)))
    return {**dict.fromkeys(METRICS, accuracy), "auc": auc}


def drawn(cell: Cell, sets: int, *, seed: int = 0) -> Iterator[Drawn]:
    """Draw test sets; those without both classes are drawn again."""
    numbers = (cell.groups, round(1000 * cell.prevalence), round(1000 * cell.accuracy))
    rng = np.random.default_rng([seed, *numbers])
    means = norm.ppf([cell.accuracy, cell.accuracy, cell.better])
    while sets:
        sizes = rng.integers(1, cell.largest + 1, size=cell.groups)
        ill_groups = rng.random(cell.groups) < cell.prevalence
        if ill_groups.all() or not ill_groups.any():
            continue
        places = np.repeat(np.arange(cell.groups), sizes)
        ill = ill_groups[places]
        of_groups = _correlated(rng, cell.groups)[:, places]
        of_images = _correlated(rng, len(places))
        noise = np.sqrt(cell.within) * of_groups + np.sqrt(1 - cell.within) * of_images
        yield Drawn(places, ill, np.where(ill, 1, -1) * means[:, None] + noise)
        sets -= 1


def _correlated(rng: np.random.Generator, count: int) -> Array:
    """Standard normal numbers of three networks, (3, count)."""
    common, own = rng.normal(size=count), rng.normal(size=(3, count))
    return np.asarray(np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own)


def attainable(samples: int, accuracy: float) -> tuple[float, float] | None:
    """What intervals of a proportion of independent samples can reach, next to 0.95, exactly.

    An interval whose limits rise with the proportion holds the truth for so many errors, and for
    all fewer where the truth is so near 1 that no error at all is common.

    Returns:
        The largest chance of at most so many errors that is below 0.95, and the smallest from 0.95
        on; None where no error at all has a chance of less than 2.5 %.
    """
    shares = binom.cdf(np.arange(samples + 1), samples, 1 - accuracy)
    if shares[0] < 0.025:
        return None
    place = int(np.searchsorted(shares, 0.95))
    return float(shares[place - 1]) if place else 0.0, float(shares[place])
