"""One or several numbers."""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.tasks.head import BUFFERS
from medpipe.tasks.step import vector
from medpipe.tasks.strata import ALL, UNKNOWN
from medpipe.tasks.vector_labels import VectorLabels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from medpipe.tasks.step import Array

BINS = 10
"""The quantile bins of a target, at most: samples are divided by them as by findings."""
UNITS_IN_A_BIN = 10
"""So many groups for each bin: fewer can't be divided into ten splits."""


@attrs.frozen(kw_only=True)
class Regression(VectorLabels):
    """One or several numbers, such as an age; NaN is missing."""

    name: ClassVar[str] = "regression"
    word: ClassVar[str] = "target"
    label_form: ClassVar[str] = "numbers"
    answer_form: ClassVar[str] = "numbers"
    cells: ClassVar[Literal["classes", "findings", "numbers"]] = "numbers"
    matching_remedy: ClassVar[str] = (
        "Name the column as the run does, or leave it out of the labels."
    )
    loss: ClassVar[str] = "mse"
    monitor: ClassVar[str] = "mae"
    metrics: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2")
    buffers: ClassVar[tuple[str, ...]] = BUFFERS

    def label_text(self, label: Any, names: Sequence[str]) -> str:
        """The numbers."""
        return ", ".join("missing" if math.isnan(v) else f"{v:g}" for v in vector(label))

    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        """What is infinite."""
        import numpy as np

        return np.asarray(np.isinf(labels).any(axis=1)), "finite, or NaN where it is missing"

    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        """The quantile bin of each target."""
        vectors = [vector(label) for label in labels]
        bins = max(1, min(BINS, units // UNITS_IN_A_BIN))
        columns = [_quantiles(values, bins) for values in zip(*vectors, strict=True)]
        return [
            (
                ALL,
                *(
                    UNKNOWN - target if place is None else target * bins + place
                    for target, place in enumerate(places)
                ),
            )
            for places in zip(*columns, strict=True)
        ]

    def measure(self, labels: Sequence[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """``target_means`` and ``target_spreads``, standard deviations, of each target.

        Over the training samples that have the target. A standard deviation is 1 where the
        target does not vary, so that one can divide by it.
        """
        means, spreads = [], []
        for values in zip(*(vector(label) for label in labels), strict=True):
            known = [value for value in values if not math.isnan(value)]
            # Of one order, so that the last digit is the same on every machine.
            mean = math.fsum(known) / len(known)
            spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
            means.append(mean)
            spreads.append(spread if min(known) < max(known) and spread > 0 else 1.0)
        return {"target_means": tuple(means), "target_spreads": tuple(spreads)}

    def finish(self, network: nn.Module, statistics: Mapping[str, Any]) -> nn.Module:
        """Normalise the targets inside of the network; see `medpipe.tasks.head.give_units`."""
        from medpipe.tasks.head import give_units

        if not statistics:
            return network
        return give_units(network, statistics["target_means"], statistics["target_spreads"])

    def bundle_form(self, statistics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """The unit: outputs times the standard deviation, and the mean added."""
        if not statistics:
            return []
        spreads, means = (
            f"torch.tensor({list(statistics[name])}, device=x.device)"
            for name in ("target_spreads", "target_means")
        )
        return [
            {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda x: x * {spreads} + {means}"}
        ]

    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        """``unit``, and ``targets``: a table for each target, over the labels that are known."""
        import numpy as np

        from medpipe.tasks.tables import errors

        targets: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(names):
            known = ~np.isnan(labels[:, place])
            targets[name] = errors(labels[known, place], scores[known, place])
        return {"unit": unit, "targets": targets}

    def remarks(self, metrics: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
        """An R2 like that of the mean target, targets that do not vary, ..."""
        from medpipe.tasks.remarks import guess_remarks, target_remarks

        guess = guess_remarks(metrics, "r2", 0.0, "the mean target for each image gives")
        return [*guess, *target_remarks(metrics)]


def _quantiles(values: Sequence[float], bins: int) -> list[int | None]:
    """For each value the number of its bin; None where it is missing."""
    known = sorted(value for value in values if not math.isnan(value))
    return [
        None if math.isnan(value) else bisect.bisect_left(known, value) * bins // len(known)
        for value in values
    ]
