"""Figures of regressions: scatter and Bland-Altman.

Matplotlib and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.report.style import INK, MUTED, SERIES, axes, figure, settings

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

MOST_DOTS = 1500
"""Cases that are drawn at most: a share of them looks like all."""


@attrs.frozen(kw_only=True)
class Agreement:
    """How predictions of a target agree with the truth, in the target's unit.

    Attributes:
        cases: How many have a label.
        bias: The mean of prediction minus truth.
        spread: Its standard deviation (n - 1); None with fewer than two cases.
        low: The lower limit of agreement, ``bias - 1.96 * spread``.
        high: The upper one.
    """

    cases: int
    bias: float | None
    spread: float | None
    low: float | None
    high: float | None


def agreement(truth: Array, predicted: Array) -> Agreement:
    """Bias and limits of agreement. Source: Bland and Altman, Lancet 327 (1986).

    Args:
        truth: Float64 of shape (cases,), without NaN.
        predicted: Of the same shape.
    """
    difference = predicted - truth
    count = len(difference)
    bias = float(difference.mean()) if count else None
    spread = float(difference.std(ddof=1)) if count > 1 else None
    if bias is None or spread is None:
        return Agreement(cases=count, bias=bias, spread=None, low=None, high=None)
    return Agreement(
        cases=count,
        bias=bias,
        spread=spread,
        low=bias - 1.96 * spread,
        high=bias + 1.96 * spread,
    )


def known(predictions: Predictions, target: str) -> tuple[Array, Array]:
    """The truth and the predictions of a target, of the cases that have a label."""
    import numpy as np

    place = predictions.task.names.index(target)
    there = ~np.isnan(predictions.labels[:, place])
    return predictions.labels[there, place], predictions.scores[there, place]


def scatter_figure(predictions: Predictions, target: str) -> Figure:
    """Prediction against truth, with the line where both are equal."""
    import numpy as np

    truth, predicted = known(predictions, target)
    made = figure(3.9, 3.6)
    with settings():
        plot = axes(made)
        _dots(plot, truth, predicted)
        if len(truth):
            ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
            plot.plot(ends, ends, color=MUTED, linewidth=1, linestyle=":")
        plot.set_xlabel(f"true {_named(predictions, target)}")
        plot.set_ylabel("predicted")
    return made


def bland_altman_figure(predictions: Predictions, target: str) -> Figure:
    """Prediction minus truth against their mean, with bias and 95 % limits of agreement."""
    truth, predicted = known(predictions, target)
    found = agreement(truth, predicted)
    made = figure(3.9, 3.6)
    with settings():
        plot = axes(made)
        _dots(plot, (truth + predicted) / 2, predicted - truth)
        for value, name, style in (
            (found.high, "+1.96 SD", "--"),
            (found.bias, "bias", "-"),
            (found.low, "-1.96 SD", "--"),
        ):
            if value is not None:
                plot.axhline(value, color=INK, linewidth=1, linestyle=style)
                plot.annotate(
                    f"{name} {value:.3g}",
                    (1, value),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="right",
                    fontsize=9,
                )
        plot.set_xlabel(f"mean of true and predicted\n{_named(predictions, target)}")
        plot.set_ylabel("predicted - true")
    return made


def _dots(plot: Any, x: Array, y: Array) -> None:
    import numpy as np

    if len(x) > MOST_DOTS:
        chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(x))[:MOST_DOTS]
        x, y = x[chosen], y[chosen]
        plot.set_title(f"{MOST_DOTS:,} of the cases, drawn at random")
    plot.plot(x, y, "o", color=SERIES[0], alpha=0.45, markersize=3.5, markeredgewidth=0)


def _named(predictions: Predictions, target: str) -> str:
    unit = predictions.task.unit
    return f"{target} ({unit})" if unit else target
