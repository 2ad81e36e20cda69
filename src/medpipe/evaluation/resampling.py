"""Weights of bootstrap resamples and of the jackknife, for groups (patients) as a whole.

A resample is a weight for each sample, how often it was drawn, so every metric is computed for
many resamples at once, as sums of weights (an AUC by ranks). NumPy is imported inside functions.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from typing import TypeVar

    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]
    Statistic = Callable[[Array], Array]
    Key = TypeVar("Key", bound=Hashable)

RESAMPLES = 1000
BLOCKS = 1000
"""The most parts into which the jackknife divides the groups."""
_NUMBERS_AT_ONCE = 200_000  # 1.6 MB of weights, which stay in a CPU cache


def group_places(predictions: Predictions) -> Array:
    """For each sample the place of its group; a sample without one is a group of its own.

    Returns:
        Int64 of shape (samples,), from 0 to below the number of groups.
    """
    import numpy as np

    keys = [
        (group is not None, id_ if group is None else group)
        for id_, group in zip(predictions.ids, predictions.groups, strict=True)
    ]
    # Sorted, so that the names of groups alone decide which are drawn together.
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([places[key] for key in keys], dtype=np.int64)


def bootstrap(places: Array, statistics: Mapping[Key, Statistic]) -> dict[Key, Array]:
    """Compute statistics on the same `RESAMPLES` bootstrap resamples of whole groups.

    Args:
        places: The group of each sample; see `group_places`.
        statistics: From weights of shape (samples, resamples) to values, (resamples,).

    Returns:
        Float64 of shape (`RESAMPLES`,) by name; empty where there are no samples or statistics.
    """
    return _computed(bootstrap_weights(places), statistics)


def jackknife(places: Array, statistics: Mapping[Key, Statistic]) -> dict[Key, Array]:
    """Compute statistics with each group left out in turn.

    Of more than `BLOCKS` groups, as many blocks of groups are left out in turn, for which the
    groups are shuffled.

    Args:
        places: The group of each sample; see `group_places`.
        statistics: From weights of shape (samples, resamples) to values, (resamples,).

    Returns:
        Float64 of shape (groups or `BLOCKS`,) by name; empty where there are no samples or
        statistics.
    """
    return _computed(jackknife_weights(places), statistics)


def bootstrap_weights(places: Array) -> Iterator[Array]:
    """Weights of shape (samples, resamples), in chunks that make up `RESAMPLES`."""
    import numpy as np

    groups = int(places.max(initial=-1)) + 1
    generator = np.random.Generator(np.random.PCG64(0))
    for _, count in _chunks(len(places), RESAMPLES if groups else 0):
        drawn = generator.integers(0, groups, size=(count, groups))
        drawn += np.arange(count)[:, None] * groups
        weights = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        yield np.ascontiguousarray(weights.T, dtype=np.float64)[places]


def jackknife_weights(places: Array) -> Iterator[Array]:
    """Weights of shape (samples, blocks), in chunks: 0 in the block left out, else 1."""
    import numpy as np

    groups = int(places.max(initial=-1)) + 1
    blocks = min(groups, BLOCKS)
    block_of = np.arange(groups)
    if groups > blocks:
        block_of = np.random.Generator(np.random.PCG64(0)).permutation(groups) % blocks
    left_out = block_of[places]
    for start, count in _chunks(len(places), blocks):
        yield (left_out[:, None] != np.arange(start, start + count)).astype(np.float64)


def _chunks(samples: int, columns: int) -> Iterator[tuple[int, int]]:
    most = max(1, _NUMBERS_AT_ONCE // max(samples, 1))
    for start in range(0, columns, most):
        yield start, min(most, columns - start)


@functools.cache
def _threadpools() -> Any:
    """Those of NumPy, which are there once it is imported; to find them takes milliseconds."""
    import numpy  # noqa: F401
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def _computed(chunks: Iterator[Array], statistics: Mapping[Key, Statistic]) -> dict[Key, Array]:
    import numpy as np

    if not statistics:
        return {}
    # The products are small: on cores that others use too, threads that wait for each other made
    # this thirty times slower.
    with _threadpools().limit(limits=1, user_api="blas"):
        values = [{name: one(weights) for name, one in statistics.items()} for weights in chunks]
    return {name: np.concatenate([each[name] for each in values]) for name in statistics if values}
